"""From a photo to a scene, and from a scene to its coarse passes."""


rule scene:
    input:
        node=node_file("scene"),
        upstream=upstream("scene"),
    output:
        directory(stage_folder("scene")),
    log:
        record("log", "scene"),
    benchmark:
        record("benchmark", "scene")
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        gpu=0,
        mem_mb=4000,
        runtime=30,
    shell:
        command("scene")


rule render:
    input:
        node=node_file("render"),
        upstream=upstream("render"),
    output:
        directory(stage_folder("render")),
    log:
        record("log", "render"),
    benchmark:
        record("benchmark", "render")
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=0,
        mem_mb=6000,
        runtime=120,
    shell:
        command("render")


rule views:
    input:
        node=node_file("views"),
        upstream=upstream("views"),
    output:
        directory(stage_folder("views")),
    log:
        record("log", "views"),
    benchmark:
        record("benchmark", "views")
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=0,
        mem_mb=6000,
        runtime=60,
    shell:
        command("views")


localrules:
    preview_variant,


rule preview_variant:
    input:
        variant=variant_file,
        folders=previewed_folders,
    output:
        report(
            "results/{run}/{variant}/preview/sheet.png",
            caption="report/preview.rst",
            category="{run}",
            subcategory="{variant}",
            labels={"what": "preview"},
        ),
        video="results/{run}/{variant}/preview/coarse.mp4",
    log:
        f"{CACHE}/log/preview/{{run}}-{{variant}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
    params:
        folder="results/{run}/{variant}/preview",
    shell:
        f"{PYTHON} -m i2v3d preview-sheet --variant {{input.variant}} --cache {CACHE} --out {{params.folder}}"
        " --log {log}"
