"""The page that compares all variants of a run."""


localrules:
    comparison,


rule comparison:
    input:
        plan=lambda wildcards: str(comparison_plan(wildcards.run)),
        folders=lambda wildcards: links(run_folders(CACHE, run_plan())),
    output:
        report(
            "results/{run}/comparison.html",
            caption="report/comparison.rst",
            category="{run}",
            labels={"what": "comparison of all variants"},
        ),
        table="results/{run}/comparison.csv",
    log:
        f"{CACHE}/log/comparison-{{run}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
    params:
        command=lambda wildcards, input: comparison_command(input.plan, wildcards.run),
    shell:
        "{params.command}"
