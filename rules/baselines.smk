"""What the method is compared with: all frames of a shot by other means, from the same renders and keyframes."""


rule cross_fade:
    input:
        node=node_file("cross_fade"),
        upstream=upstream("cross_fade"),
    output:
        directory(stage_folder("cross_fade")),
    log:
        record("log", "cross_fade"),
    benchmark:
        record("benchmark", "cross_fade")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    shell:
        command("cross_fade")


rule sdedit_image:
    input:
        node=node_file("sdedit_image"),
        upstream=upstream("sdedit_image"),
    output:
        directory(stage_folder("sdedit_image")),
    log:
        record("log", "sdedit_image"),
    benchmark:
        record("benchmark", "sdedit_image")
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=1,
        mem_mb=MEMORY_MB,
        runtime=240,
    shell:
        command("sdedit_image")


rule sdedit_video:
    input:
        node=node_file("sdedit_video"),
        upstream=upstream("sdedit_video"),
    output:
        directory(stage_folder("sdedit_video")),
    log:
        record("log", "sdedit_video"),
    benchmark:
        record("benchmark", "sdedit_video")
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=1,
        mem_mb=MEMORY_MB,
        runtime=240,
    shell:
        command("sdedit_video")
