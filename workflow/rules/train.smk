# in:  a target and questions (or texts), as the configuration's `drafters` says
# out: the target's own answers with what training needs of them, and a drafter trained on them with its log
#
# Both go on where an interrupted run stopped: what they keep beside their outputs is theirs to judge.


rule answer:
    output:
        f"{plan.results}/drafters/{{drafter}}/answers.json",
    log:
        f"{plan.results}/drafters/{{drafter}}/answer.log",
    conda:
        "../../environment.yml"
    threads: workflow.resource_settings.cores or 1
    resources:
        gpu=1,
    params:
        spec=lambda wildcards: plan.answers_spec(wildcards.drafter),
        version=lambda wildcards: plan.answers_version(wildcards.drafter),
    shell:
        "python -m longspec.stages.answer --spec {params.spec:q} --version {params.version:q} --output {output:q}"
        " 2>&1 | tee -a {log:q}"


rule train_drafter:
    input:
        lambda wildcards: plan.answers_file(wildcards.drafter),
    output:
        weights=f"{plan.results}/drafters/{{drafter}}/model.safetensors",
        config=f"{plan.results}/drafters/{{drafter}}/config.json",
        table=f"{plan.results}/drafters/{{drafter}}/training.csv",
    log:
        f"{plan.results}/drafters/{{drafter}}/train.log",
    conda:
        "../../environment.yml"
    threads: workflow.resource_settings.cores or 1
    resources:
        gpu=1,
    params:
        spec=lambda wildcards: plan.trained_spec(wildcards.drafter),
        version=lambda wildcards: plan.train_version(wildcards.drafter),
    shell:
        "python -m longspec.stages.train --spec {params.spec:q} --version {params.version:q} --answers {input:q}"
        " --weights {output.weights:q} 2>&1 | tee -a {log:q}"
