"""Scores of a finished shot."""


use rule scene as evaluate with:
    input:
        node=node_file("evaluate"),
        upstream=upstream("evaluate"),
    output:
        finished_link("evaluate"),
    log:
        record("log", "evaluate"),
    benchmark:
        record("benchmark", "evaluate")
    threads: threads_of("evaluate")
    resources:
        **machine("evaluate"),
