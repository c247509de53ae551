# in:  a target and questions (or texts), as the configuration's `drafters` says
# out: the target's own answers with what training needs of them, and a drafter trained on them with its log
#
# Both go on where an interrupted run stopped: what they keep beside their outputs is theirs to judge. Both run the
# target, so they ask for what its `resources:` say.


rule answer:
    output:
        "<results>/drafters/{drafter}/answers.json",
    log:
        "<results>/drafters/{drafter}/answer.log",
    conda:
        "../../environment.yml"
    threads: workflow.resource_settings.cores or 1
    resources:
        gpu=lambda wildcards: plan.training_resources(wildcards.drafter).gpus,
        gpu_model=lambda wildcards: plan.training_resources(wildcards.drafter).gpu_model,
        mem_mb=lambda wildcards, attempt: plan.training_resources(wildcards.drafter, attempt).mem_mb,
        runtime=lambda wildcards, attempt: plan.training_resources(wildcards.drafter, attempt).runtime,
        slurm_partition=lambda wildcards: plan.training_resources(wildcards.drafter).partition,
    params:
        spec=lambda wildcards: plan.answers_spec(wildcards.drafter),
        version=lambda wildcards: plan.versions.answers(wildcards.drafter),
    shell:
        "python -m longspec answer --spec {params.spec:q} --version {params.version:q} --output {output:q}"
        " 2>&1 | tee -a {log:q}"


rule train_drafter:
    input:
        answers=lambda wildcards: f"<results>/drafters/{plan.answered_for(wildcards.drafter)}/answers.json",
        start=lambda wildcards: expand(
            "<results>/drafters/{drafter}/model.safetensors", drafter=plan.begun_from(wildcards.drafter)
        ),
    output:
        weights="<results>/drafters/{drafter}/model.safetensors",
        config="<results>/drafters/{drafter}/config.json",
        table="<results>/drafters/{drafter}/training.csv",
    log:
        "<results>/drafters/{drafter}/train.log",
    conda:
        "../../environment.yml"
    threads: workflow.resource_settings.cores or 1
    resources:
        gpu=lambda wildcards: plan.training_resources(wildcards.drafter).gpus,
        gpu_model=lambda wildcards: plan.training_resources(wildcards.drafter).gpu_model,
        mem_mb=lambda wildcards, attempt: plan.training_resources(wildcards.drafter, attempt).mem_mb,
        runtime=lambda wildcards, attempt: plan.training_resources(wildcards.drafter, attempt).runtime,
        slurm_partition=lambda wildcards: plan.training_resources(wildcards.drafter).partition,
    params:
        spec=lambda wildcards: plan.trained_spec(wildcards.drafter),
        version=lambda wildcards: plan.versions.train(wildcards.drafter),
    shell:
        "python -m longspec train --spec {params.spec:q} --version {params.version:q} --answers {input.answers:q}"
        " --weights {output.weights:q} 2>&1 | tee -a {log:q}"
