"""Customises the image model to the photo."""


rule lora:
    input:
        node=node_file("lora"),
        upstream=upstream("lora"),
    output:
        directory(stage_folder("lora")),
    log:
        record("log", "lora"),
    benchmark:
        record("benchmark", "lora")
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=1,
        mem_mb=MEMORY_MB,
        runtime=120,
    shell:
        command("lora")
