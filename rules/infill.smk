"""All frames between two neighbouring keyframes, filled in under the render's control, one job a segment."""


use rule scene as infill with:
    input:
        node=node_file("infill"),
        upstream=upstream("infill"),
    output:
        finished_link("infill"),
    log:
        record("log", "infill"),
    benchmark:
        record("benchmark", "infill")
    threads: threads_of("infill")
    resources:
        **machine("infill"),
