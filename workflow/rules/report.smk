# in:  the tables, the runs, the claims and the configuration
# out: two HTML files that open from disk: the report, and our figures beside LongSpec's


localrules:
    report,


rule report:
    input:
        prompts=every("<results>/{model}/{dataset}/prompts.jsonl"),
        vocabularies=every("<results>/{model}/tokens.json"),
        samples=every("<results>/{model}/{dataset}/{method}/samples.jsonl"),
        runs=every("<results>/{model}/{dataset}/{method}/run.json"),
        trained=expand("<results>/drafters/{drafter}/training.csv", drafter=plan.config.drafters),
        tables=[
            *MEASURED,
            "<results>/lossless.csv",
            "<results>/speedup.csv",
            "<results>/costs.csv",
            "<results>/audit.csv",
        ],
        summary="<results>/summary.json",
    output:
        "<reports>/index.html",
        "<reports>/paper.html",
    log:
        "<results>/report.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        config=lambda wildcards: plan.config_json(),
        unpinned=lambda wildcards: plan.unpinned,
        version=plan.versions.command("report"),
        results=lambda wildcards, input: os.path.dirname(input.summary),
        reports=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec report --grid {params.grid:q} --config <(printf %s {params.config:q}) --results {params.results:q}"
        " --unpinned {params.unpinned:q} --reports {params.reports:q} 2>&1 | tee {log:q}"
