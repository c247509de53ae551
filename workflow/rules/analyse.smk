# in:  raw samples and runs of all jobs
# out: the tables, each ratio is computed here and nowhere earlier; an audit of them; what may be claimed


localrules:
    metrics,
    speedup,
    audit,
    summary,


MEASURED = [
    "<results>/timings.csv",
    "<results>/repeats.csv",
    "<results>/throughput.csv",
    "<results>/acceptance.csv",
    "<results>/acceptance_by_position.csv",
    "<results>/acceptance_curves.csv",
    "<results>/windows.csv",
    "<results>/load.csv",
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
        version=plan.versions.step("metrics"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec analyse metrics --grid {params.grid:q} --results {params.results:q} 2>&1 | tee {log:q}"


# The cost model, and what `auto` chose and predicted, are held against the measured speedup.
rule speedup:
    input:
        runs=every("<results>/{model}/{dataset}/{method}/run.json"),
        tables=[*MEASURED, "<results>/lossless.csv"],
    output:
        "<results>/speedup.csv",
        "<results>/costs.csv",
        ["<results>/tuning.csv"] if plan.tunes() else [],
    log:
        "<results>/speedup.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.versions.step("speedup"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
        lossless=plan.config.lossless,
    shell:
        "python -m longspec analyse speedup --grid {params.grid:q} --results {params.results:q}"
        " --lossless {params.lossless:q} 2>&1 | tee {log:q}"


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
        version=plan.versions.step("audit"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec analyse audit --grid {params.grid:q} --results {params.results:q} 2>&1 | tee {log:q}"


rule summary:
    input:
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
        version=plan.versions.step("summary"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
        reports=lambda wildcards, output: os.path.dirname(output[1]),
    shell:
        "python -m longspec analyse summary --grid {params.grid:q} --results {params.results:q}"
        " --reports {params.reports:q} 2>&1 | tee {log:q}"
