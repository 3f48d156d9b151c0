"""A baseline: the keyframes, blended."""


use rule scene as cross_fade with:
    input:
        node=node_file("cross_fade"),
        upstream=upstream("cross_fade"),
    output:
        finished_link("cross_fade"),
    log:
        record("log", "cross_fade"),
    benchmark:
        record("benchmark", "cross_fade")
    threads: threads_of("cross_fade")
    resources:
        **machine("cross_fade"),
