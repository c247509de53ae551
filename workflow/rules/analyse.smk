# in:  raw samples and runs of all jobs
# out: the tables, each ratio is computed here and nowhere earlier; an audit of them; what may be claimed


localrules:
    metrics,
    speedup,
    costs,
    tuning,
    audit,
    summary,


MEASURED = [
    "<results>/timings.csv",
    "<results>/repeats.csv",
    "<results>/throughput.csv",
    "<results>/acceptance.csv",
    "<results>/acceptance_by_position.csv",
    "<results>/acceptance_curves.csv",
]
"""What follows from the samples alone."""


rule metrics:
    input:
        samples=every("<results>/{model}/{dataset}/{method}/samples.jsonl"),
        runs=every("<results>/{model}/{dataset}/{method}/run.json"),
    output:
        MEASURED,
    log:
        "<results>/metrics.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.versions.analysis("metrics"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec metrics --grid {params.grid:q} --results {params.results:q} 2>&1 | tee {log:q}"


rule speedup:
    input:
        samples=every("<results>/{model}/{dataset}/{method}/samples.jsonl"),
        runs=every("<results>/{model}/{dataset}/{method}/run.json"),
        timings="<results>/timings.csv",
        lossless="<results>/lossless.csv",
    output:
        "<results>/speedup.csv",
    log:
        "<results>/speedup.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.versions.analysis("speedup"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
        lossless=plan.config.lossless,
    shell:
        "python -m longspec speedup --grid {params.grid:q} --results {params.results:q}"
        " --lossless {params.lossless:q} 2>&1 | tee {log:q}"


rule costs:
    input:
        samples=every("<results>/{model}/{dataset}/{method}/samples.jsonl"),
        runs=every("<results>/{model}/{dataset}/{method}/run.json"),
        acceptance="<results>/acceptance.csv",
        positions="<results>/acceptance_by_position.csv",
        speedup="<results>/speedup.csv",
    output:
        "<results>/costs.csv",
    log:
        "<results>/costs.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.versions.analysis("costs"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec costs --grid {params.grid:q} --results {params.results:q} 2>&1 | tee {log:q}"


# Made where a variant leaves an option to `auto`.
rule tuning:
    input:
        samples=every("<results>/{model}/{dataset}/{method}/samples.jsonl"),
        runs=every("<results>/{model}/{dataset}/{method}/run.json"),
        throughput="<results>/throughput.csv",
        acceptance="<results>/acceptance.csv",
        speedup="<results>/speedup.csv",
    output:
        "<results>/tuning.csv",
    log:
        "<results>/tuning.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.versions.analysis("tuning"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec tuning --grid {params.grid:q} --results {params.results:q} 2>&1 | tee {log:q}"


# Not `audit_tokens`, which asks the model about the tokens: this asks the files about the two sides of each speedup.
rule audit:
    input:
        prompts=every("<results>/{model}/{dataset}/prompts.jsonl"),
        samples=every("<results>/{model}/{dataset}/{method}/samples.jsonl"),
        runs=every("<results>/{model}/{dataset}/{method}/run.json"),
        gates=every("<results>/{model}/{dataset}/{method}/gate.jsonl", methods=plan.compared),
        tables=[*MEASURED, "<results>/lossless.csv", "<results>/speedup.csv", "<results>/costs.csv"],
    output:
        "<results>/audit.csv",
    log:
        "<results>/audit.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.versions.analysis("audit"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec audit --grid {params.grid:q} --results {params.results:q} 2>&1 | tee {log:q}"


rule summary:
    input:
        samples=every("<results>/{model}/{dataset}/{method}/samples.jsonl"),
        runs=every("<results>/{model}/{dataset}/{method}/run.json"),
        tables=[*MEASURED, "<results>/lossless.csv", "<results>/speedup.csv", "<results>/audit.csv"],
    output:
        "<results>/summary.json",
        "<reports>/tables.md",
        "<reports>/tables.tex",
    log:
        "<results>/summary.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.versions.analysis("summary"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
        reports=lambda wildcards, output: os.path.dirname(output[1]),
    shell:
        "python -m longspec summary --grid {params.grid:q} --results {params.results:q}"
        " --tables {params.reports:q} 2>&1 | tee {log:q}"
