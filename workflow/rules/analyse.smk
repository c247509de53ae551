# in:  raw samples and runs of all jobs
# out: the tables, each ratio is computed here and nowhere earlier; an audit of them; what may be claimed


localrules:
    metrics,
    speedup,
    costs,
    tuning,
    symmetry,
    summary,


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


rule costs:
    input:
        runs=plan.runs(),
        acceptance=f"{plan.results}/acceptance.csv",
        positions=f"{plan.results}/acceptance_by_position.csv",
        speedup=plan.speedup,
    output:
        plan.costs,
    log:
        f"{plan.results}/costs.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.analysis_version("costs"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec.stages.costs --grid {params.grid:q} --results {params.results:q} 2>&1 | tee {log:q}"


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


# Not `audit`, which asks the model about the tokens: this asks the files about the two sides of each speedup.
rule symmetry:
    input:
        prompts=plan.prompts(),
        runs=plan.runs(),
        gates=plan.gates(),
        tables=[*plan.tables(), plan.lossless, plan.speedup, plan.costs],
    output:
        plan.symmetry,
    log:
        f"{plan.results}/symmetry.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.analysis_version("symmetry"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec.stages.symmetry --grid {params.grid:q} --results {params.results:q} 2>&1 | tee {log:q}"


rule summary:
    input:
        runs=plan.runs(),
        tables=[*plan.tables(), plan.lossless, plan.speedup, plan.symmetry],
    output:
        plan.summary(),
    log:
        f"{plan.results}/summary.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.analysis_version("summary"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
        tables=lambda wildcards, output: os.path.dirname(output[1]),
    shell:
        "python -m longspec.stages.summary --grid {params.grid:q} --results {params.results:q}"
        " --tables {params.tables:q} 2>&1 | tee {log:q}"
