# in:  raw samples and runs of all jobs
# out: the tables; each ratio is computed here and nowhere earlier


localrules:
    metrics,
    speedup,


rule metrics:
    input:
        runs=plan.runs(),
    output:
        plan.tables(),
    log:
        f"{plan.results}/metrics.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.analysis_version("metrics"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec.stages.metrics --grid {params.grid:q} --results {params.results:q} 2>&1 | tee {log:q}"


rule speedup:
    input:
        runs=plan.runs(),
        timings=f"{plan.results}/timings.csv",
        lossless=plan.lossless,
    output:
        plan.speedup,
    log:
        f"{plan.results}/speedup.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.analysis_version("speedup"),
        lossless=plan.config["lossless"],
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec.stages.speedup --grid {params.grid:q} --results {params.results:q}"
        " --lossless {params.lossless:q} 2>&1 | tee {log:q}"
