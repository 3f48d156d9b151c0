"""All frames between two neighbouring keyframes, one job a segment."""


use rule scene as interpolate with:
    input:
        node=node_file("interpolate"),
        upstream=upstream("interpolate"),
    output:
        finished_link("interpolate"),
    log:
        record("log", "interpolate"),
    benchmark:
        record("benchmark", "interpolate")
    threads: threads_of("interpolate")
    resources:
        **machine("interpolate"),
