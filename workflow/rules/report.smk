# in:  the tables, the runs, the claims and the configuration
# out: two HTML files that open from disk: the report, and our figures beside LongSpec's


localrules:
    report,


rule report:
    input:
        runs=plan.runs(),
        prompts=plan.prompts(),
        vocabularies=plan.vocabularies(),
        tables=[*plan.tables(), plan.lossless, plan.speedup, plan.costs, plan.symmetry],
        summary=plan.summary()[0],
        trained=plan.trained(),
    output:
        plan.pages(),
    log:
        f"{plan.results}/report.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        config=lambda wildcards: plan.config_json(),
        unpinned=lambda wildcards: plan.unpinned,
        version=plan.analysis_version("report"),
        results=lambda wildcards, input: os.path.dirname(input.tables[0]),
        reports=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec.stages.report --grid {params.grid:q} --config {params.config:q} --results {params.results:q}"
        " --unpinned {params.unpinned:q} --reports {params.reports:q} 2>&1 | tee {log:q}"
