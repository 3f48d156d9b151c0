"""All frames between neighbouring keyframes, one job a segment; inversion apart."""


rule interpolation_inversion:
    input:
        node=node_file("interpolation_inversion"),
        upstream=upstream("interpolation_inversion"),
    output:
        directory(stage_folder("interpolation_inversion")),
    log:
        record("log", "interpolation_inversion"),
    benchmark:
        record("benchmark", "interpolation_inversion")
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=1,
        mem_mb=MEMORY_MB,
        runtime=120,
    shell:
        command("interpolation_inversion")


rule interpolate:
    input:
        node=node_file("interpolate"),
        upstream=upstream("interpolate"),
    output:
        directory(stage_folder("interpolate")),
    log:
        record("log", "interpolate"),
    benchmark:
        record("benchmark", "interpolate")
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=1,
        mem_mb=MEMORY_MB,
        runtime=240,
    shell:
        command("interpolate")
