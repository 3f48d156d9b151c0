"""Coarse passes of every frame of the scene."""


use rule scene as render with:
    input:
        node=node_file("render"),
        upstream=upstream("render"),
        shares=shares("render"),
    output:
        finished_link("render"),
    log:
        record("log", "render"),
    benchmark:
        record("benchmark", "render")
    threads: threads_of("render")
    resources:
        **machine("render"),
