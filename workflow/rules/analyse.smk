# in:  raw samples and runs of all jobs
# out: the tables; each ratio is computed here and nowhere earlier


localrules:
    metrics,
    speedup,
    tuning,


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


# Made where a variant leaves an option to `auto`.
rule tuning:
    input:
        runs=plan.runs(),
        throughput=f"{plan.results}/throughput.csv",
        acceptance=f"{plan.results}/acceptance.csv",
        speedup=plan.speedup,
    output:
        plan.tuning,
    log:
        f"{plan.results}/tuning.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.analysis_version("tuning"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec.stages.tuning --grid {params.grid:q} --results {params.results:q} 2>&1 | tee {log:q}"
