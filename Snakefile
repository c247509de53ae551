# longspec-bench: how much faster is speculative decoding, and is the output still the same?
#
# in:  config/config.yaml, or the files given with --configfile (which replace it, not extend it)
# out: results/ and reports/index.html

from snakemake.utils import min_version

min_version("9.20")

if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/lossless.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/report.smk"


# A limit on GPUs is one machine's own. Counted globally, profiles/default's gpu=1 would run a cluster's jobs one by one.
resource_scopes:
    gpu="local",


localrules:
    all,


rule all:
    default_target: True
    input:
        # Intermediates are named too: Snakemake does not make a deleted one again while what was made of it exists.
        every("<results>/{model}/tokens.json"),
        every("<results>/{model}/{dataset}/prompts.jsonl"),
        every("<results>/{model}/{dataset}/prompts_tuning.jsonl"),
        expand("<results>/drafters/{drafter}/answers.json", drafter=plan.answering()),
        expand("<results>/drafters/{drafter}/model.safetensors", drafter=plan.config.drafters),
        every("<results>/{model}/{dataset}/{method}/samples.jsonl"),
        every("<results>/{model}/{dataset}/{method}/run.json"),
        every("<results>/{model}/{dataset}/{method}/gate.jsonl", methods=plan.compared),
        MEASURED,
        ["<results>/tuning.csv"] if plan.tunes() else [],
        "<results>/lossless.csv",
        "<results>/speedup.csv",
        "<results>/costs.csv",
        "<results>/audit.csv",
        "<results>/summary.json",
        "<reports>/tables.md",
        "<reports>/tables.tex",
        "<reports>/index.html",
        "<reports>/paper.html",


onstart:
    begin(plan)


onsuccess:
    end(plan)
    summarise(plan)


onerror:
    end(plan)
