"""Photo-like keyframes under 3D guidance; inversion apart, so that ablations of the sampling share it."""


rule keyframe_inversion:
    input:
        node=node_file("keyframe_inversion"),
        upstream=upstream("keyframe_inversion"),
    output:
        directory(stage_folder("keyframe_inversion")),
    log:
        record("log", "keyframe_inversion"),
    benchmark:
        record("benchmark", "keyframe_inversion")
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=1,
        mem_mb=MEMORY_MB,
        runtime=120,
    shell:
        command("keyframe_inversion")


rule keyframes:
    input:
        node=node_file("keyframes"),
        upstream=upstream("keyframes"),
    output:
        directory(stage_folder("keyframes")),
    log:
        record("log", "keyframes"),
    benchmark:
        record("benchmark", "keyframes")
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=1,
        mem_mb=MEMORY_MB,
        runtime=240,
    shell:
        command("keyframes")
