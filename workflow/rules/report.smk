# in:  the tables, the runs, and the configuration
# out: one HTML file that opens from disk


localrules:
    report,


rule report:
    input:
        runs=plan.runs(),
        tables=[
            f"{plan.results}/{table}.csv"
            for table in ("timings", "throughput", "acceptance", "acceptance_by_position", "speedup")
        ],
    output:
        plan.report,
    log:
        f"{plan.results}/report.log",
    params:
        grid=lambda wildcards: plan.grid_json(),
        config=lambda wildcards: plan.config_json(),
        version=plan.analysis_version("report"),
        results=plan.results,
    conda:
        "../../environment.yml"
    shell:
        "{STAGE}.report --grid {params.grid:q} --config {params.config:q} --results {params.results:q}"
        " --template {TEMPLATE:q} --style {STYLE:q} --output {output:q} 2>&1 | tee {log:q}"
