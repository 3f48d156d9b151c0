from snakemake.utils import min_version

min_version("9.20")


report: "rules/report/workflow.rst"


include: "rules/common.smk"
include: "rules/common_reports.smk"
include: "rules/scene.smk"
include: "rules/lora.smk"
include: "rules/keyframes.smk"
include: "rules/interpolate.smk"
include: "rules/baselines.smk"
include: "rules/assemble.smk"
include: "rules/evaluate.smk"
include: "rules/results.smk"
include: "rules/benchmark.smk"


rule all:
    default_target: True
    input:
        RESULTS,


rule preview:
    input:
        PREVIEWS,
