"""Inverts the coarse clip of a segment; apart, so that ablations of the sampling share it."""


use rule scene as interpolation_inversion with:
    input:
        node=node_file("interpolation_inversion"),
        upstream=upstream("interpolation_inversion"),
    output:
        finished_link("interpolation_inversion"),
    log:
        record("log", "interpolation_inversion"),
    benchmark:
        record("benchmark", "interpolation_inversion")
    threads: threads_of("interpolation_inversion")
    resources:
        **machine("interpolation_inversion"),
