"""A photo, or a clip of the toy world, becomes a scene.

The rules of the other stages inherit from this one; what each needs from the machine is in i2v3d/stages/registry.py.
"""


rule scene:
    input:
        node=node_file("scene"),
        upstream=upstream("scene"),
    output:
        finished_link("scene"),
    log:
        record("log", "scene"),
    benchmark:
        record("benchmark", "scene")
    conda:
        ENVIRONMENT
    threads: threads_of("scene")
    resources:
        **machine("scene"),
    params:
        stage=lambda wildcards, input: Path(input.node).parent.name,
        cache=CACHE,
        settings=SETTINGS,
        folder=lambda wildcards, output: CACHE / Path(output[0]).relative_to(FINISHED),
        segment=lambda wildcards: (
            f"--segment {wildcards.segment}" if "segment" in wildcards.keys() else ""
        ),
    shell:
        f"{PYTHON} -m i2v3d {{params.stage:q}} --node {{input.node:q}} --cache {{params.cache:q}} "
        "--out {params.folder:q} --finished {output:q} "
        "--settings {params.settings:q} --threads {threads} --log {log:q} {params.segment}"
