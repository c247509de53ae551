# in:  a data set, wherever its source finds it; a model's tokenizer
# out: the prompts that every method of this model and data set gets, as token ids; a few others to tune on; the text of
# every id


rule prepare:
    output:
        prompts="<results>/{model}/{dataset}/prompts.jsonl",
        tuning="<results>/{model}/{dataset}/prompts_tuning.jsonl",
        summary="<results>/{model}/{dataset}/prompts_summary.json",
    log:
        "<results>/{model}/{dataset}/prepare.log",
    conda:
        "../../environment.yml"
    params:
        model=lambda wildcards: plan.model_spec(wildcards.model),
        dataset=lambda wildcards: plan.dataset_spec(wildcards.dataset),
        version=lambda wildcards: plan.versions.prepare(wildcards.model, wildcards.dataset),
    shell:
        "python -m longspec prepare --model-spec {params.model:q} --dataset-spec <(printf %s {params.dataset:q})"
        " --output {output.prompts:q} 2>&1 | tee {log:q}"


# The analysis runs without a tokenizer; this is what it needs of one.
rule vocabulary:
    output:
        "<results>/{model}/tokens.json",
    log:
        "<results>/{model}/vocabulary.log",
    conda:
        "../../environment.yml"
    params:
        model=lambda wildcards: plan.model_spec(wildcards.model),
        version=lambda wildcards: plan.versions.vocabulary(wildcards.model),
    shell:
        "python -m longspec vocabulary --model-spec {params.model:q} --output {output:q} 2>&1 | tee {log:q}"
