# in:  the tables, the runs, and the configuration
# out: one HTML file that opens from disk


localrules:
    report,


rule report:
    input:
        runs=plan.runs(),
        tables=[*plan.tables(), plan.lossless, plan.speedup],
    output:
        plan.report,
    log:
        f"{plan.results}/report.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        config=lambda wildcards: plan.config_json(),
        version=plan.analysis_version("report"),
        results=lambda wildcards, input: os.path.dirname(input.tables[0]),
    shell:
        "python -m longspec.stages.report --grid {params.grid:q} --config {params.config:q} --results {params.results:q}"
        " --output {output:q} 2>&1 | tee {log:q}"
