from snakemake.utils import min_version

min_version("9.20")


report: "rules/report/workflow.rst"


include: "rules/common.smk"
include: "rules/common_machine.smk"
include: "rules/common_reports.smk"
include: "rules/stages.smk"
include: "rules/benchmark.smk"
include: "rules/comparison.smk"
include: "rules/preview.smk"
include: "rules/results.smk"


rule all:
    default_target: True
    input:
        lambda wildcards: result_files(run_plan()),
