# in:  a data set, wherever its source finds it; a model's tokenizer
# out: the prompts that every method of this model and data set gets, as token ids; a few others to tune on


rule prepare:
    output:
        prompts=f"{plan.results}/{{model}}/{{dataset}}/prompts.jsonl",
        tuning=f"{plan.results}/{{model}}/{{dataset}}/prompts_tuning.jsonl",
        summary=f"{plan.results}/{{model}}/{{dataset}}/prompts_summary.json",
    log:
        f"{plan.results}/{{model}}/{{dataset}}/prepare.log",
    conda:
        "../../environment.yml"
    params:
        model=lambda wildcards: plan.model_spec(wildcards.model),
        dataset=lambda wildcards: plan.dataset_spec(wildcards.dataset),
        version=lambda wildcards: plan.prepare_version(wildcards.model, wildcards.dataset),
    shell:
        "python -m longspec.stages.prepare --model-spec {params.model:q} --dataset-spec {params.dataset:q}"
        " --output {output.prompts:q} 2>&1 | tee {log:q}"
