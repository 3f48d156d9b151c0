"""`snakemake preview`: the coarse animation of every variant, before any diffusion."""


rule preview:
    input:
        lambda wildcards: preview_files(preview_plan()),


localrules:
    preview_variant,


rule preview_variant:
    input:
        variant=lambda wildcards: told(
            preview_plan().variant_file, CACHE, wildcards.run, wildcards.variant
        ),
        folders=lambda wildcards: links(
            told(preview_plan().folders, CACHE, wildcards.run, wildcards.variant)
        ),
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
        cache=CACHE,
    shell:
        f"{PYTHON} -m i2v3d preview-sheet --variant {{input.variant:q}} --cache {{params.cache:q}}"
        " --out {params.folder:q} --log {log:q}"
