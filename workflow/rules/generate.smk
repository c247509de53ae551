# in:  prompts, and the drafters that are trained here
# out: what one method did on them (all of them, where they are interleaved): raw samples, and the run's spec, conditions
# and machine
#
# A timed job has the machine to itself: it claims every core that snakemake may use, and one GPU.


rule generate:
    input:
        prompts="<results>/{model}/{dataset}/prompts.jsonl",
        tuning="<results>/{model}/{dataset}/prompts_tuning.jsonl",
        weights=lambda wildcards: expand(
            "<results>/drafters/{drafter}/model.safetensors",
            drafter=plan.trained_for(wildcards.model, wildcards.get("method")),
        ),
    output:
        samples=of_job("<results>/{model}/{dataset}/{method}/samples.jsonl"),
        run=of_job("<results>/{model}/{dataset}/{method}/run.json"),
    log:
        "<results>/{model}/{dataset}/generate.log"
        if plan.interleaved
        else "<results>/{model}/{dataset}/{method}/generate.log",
    priority: lambda wildcards: plan.priority(wildcards.get("method"))
    conda:
        "../../environment.yml"
    threads: workflow.resource_settings.cores or 1  # `workflow.cores` refuses to be asked on a cluster
    resources:
        gpu=lambda wildcards: plan.resources(wildcards.model).gpus,
        gpu_model=lambda wildcards: plan.resources(wildcards.model).gpu_model,
        mem_mb=lambda wildcards, attempt: plan.resources(wildcards.model, attempt).mem_mb,
        runtime=lambda wildcards, attempt: plan.resources(wildcards.model, attempt).runtime,
        slurm_partition=lambda wildcards: plan.resources(wildcards.model).partition,
        # What is done about a failure stands here, since to change a resource reruns nothing.
        sample_timeout=str(plan.config.timeout),
        on_error=plan.config.on_error,
    params:
        spec=lambda wildcards: plan.generate_specs(**wildcards),
        version=lambda wildcards: plan.generate_version(**wildcards),
    shell:
        "python -m longspec generate --spec <(printf '%s\\n' {params.spec:q}) --version {params.version:q}"
        " --prompts {input.prompts:q} --tuning {input.tuning:q} --samples {output.samples:q} --run {output.run:q} --log {log:q}"
        " --timeout {resources.sample_timeout:q} --on-error {resources.on_error:q}"
