"""Multi-view renders of the foreground, for the LoRA."""


use rule scene as views with:
    input:
        node=node_file("views"),
        upstream=upstream("views"),
    output:
        finished_link("views"),
    log:
        record("log", "views"),
    benchmark:
        record("benchmark", "views")
    threads: threads_of("views")
    resources:
        **machine("views"),
