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
        plan.targets(),


onstart:
    begin(plan)


onsuccess:
    end(plan)
    summarise(plan)


onerror:
    end(plan)
