"""Scores of a finished shot."""


rule evaluate:
    input:
        node=node_file("evaluate"),
        upstream=upstream("evaluate"),
    output:
        directory(stage_folder("evaluate")),
    log:
        record("log", "evaluate"),
    benchmark:
        record("benchmark", "evaluate")
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        gpu=0,
        mem_mb=6000,
        runtime=30,
    shell:
        command("evaluate")
