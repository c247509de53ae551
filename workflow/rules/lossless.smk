# in:  what a method and its baseline did on the same prompts
# out: whether the method's output is the baseline's, sample by sample, and a verdict for each job


localrules:
    lossless,


# It runs the target, so it claims the machine like a timed job, though nothing is timed.
rule gate:
    input:
        prompts="<results>/{model}/{dataset}/prompts.jsonl",
        samples="<results>/{model}/{dataset}/{method}/samples.jsonl",
        run="<results>/{model}/{dataset}/{method}/run.json",
        baseline=of_the_other("<results>/{model}/{dataset}/{method}/samples.jsonl"),
        baseline_run=of_the_other("<results>/{model}/{dataset}/{method}/run.json"),
    output:
        "<results>/{model}/{dataset}/{method}/gate.jsonl",
    log:
        "<results>/{model}/{dataset}/{method}/gate.log",
    conda:
        "../../environment.yml"
    threads: workflow.resource_settings.cores or 1
    resources:
        gpu=lambda wildcards: plan.resources(wildcards.model).gpus,
        gpu_model=lambda wildcards: plan.resources(wildcards.model).gpu_model,
        mem_mb=lambda wildcards, attempt: plan.resources(wildcards.model, attempt).mem_mb,
        runtime=lambda wildcards, attempt: plan.resources(wildcards.model, attempt).runtime,
        slurm_partition=lambda wildcards: plan.resources(wildcards.model).partition,
    params:
        spec=lambda wildcards: plan.generate_spec(**wildcards),
        version=lambda wildcards: plan.versions.gate(**wildcards),
    shell:
        "python -m longspec gate --spec <(printf %s {params.spec:q}) --prompts {input.prompts:q} --samples {input.samples:q}"
        " --run {input.run:q} --vanilla {input.baseline:q} --vanilla-run {input.baseline_run:q} --output {output:q}"
        " 2>&1 | tee {log:q}"


rule lossless:
    input:
        gates=every("<results>/{model}/{dataset}/{method}/gate.jsonl", methods=plan.compared),
        runs=every("<results>/{model}/{dataset}/{method}/run.json"),
        timings="<results>/timings.csv",
    output:
        "<results>/lossless.csv",
    log:
        "<results>/lossless.log",
    conda:
        "../../environment.yml"
    params:
        grid=lambda wildcards: plan.grid_json(),
        version=plan.versions.step("lossless"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec analyse lossless --grid {params.grid:q} --results {params.results:q} 2>&1 | tee {log:q}"


# Asked for by name: `snakemake audit_tokens --cores 1 --resources gpu=1`. It knows nothing of how the results were made.
rule audit_tokens:
    input:
        samples=every("<results>/{model}/{dataset}/{method}/samples.jsonl"),
        runs=every("<results>/{model}/{dataset}/{method}/run.json"),
    output:
        "<results>/audit_tokens.csv",
    log:
        "<results>/audit_tokens.log",
    conda:
        "../../environment.yml"
    threads: workflow.resource_settings.cores or 1
    resources:
        gpu=lambda wildcards: plan.most_resources().gpus,
        gpu_model=lambda wildcards: plan.most_resources().gpu_model,
        mem_mb=lambda wildcards, attempt: plan.most_resources(attempt).mem_mb,
        runtime=lambda wildcards, attempt: plan.most_resources(attempt).runtime,
        slurm_partition=lambda wildcards: plan.most_resources().partition,
    params:
        version=plan.versions.command("audit_tokens"),
        results=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m longspec audit_tokens --results {params.results:q} 2>&1 | tee {log:q}"
