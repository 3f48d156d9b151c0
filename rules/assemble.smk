"""Videos of a shot."""


rule assemble:
    input:
        node=node_file("assemble"),
        upstream=upstream("assemble"),
    output:
        directory(stage_folder("assemble")),
    log:
        record("log", "assemble"),
    benchmark:
        record("benchmark", "assemble")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=2000,
        runtime=30,
    shell:
        command("assemble")
