"""Photo-like keyframes under 3D guidance."""


use rule scene as keyframes with:
    input:
        node=node_file("keyframes"),
        upstream=upstream("keyframes"),
    output:
        finished_link("keyframes"),
    log:
        record("log", "keyframes"),
    benchmark:
        record("benchmark", "keyframes")
    threads: threads_of("keyframes")
    resources:
        **machine("keyframes"),
