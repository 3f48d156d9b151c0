"""The prompts, embedded by the video model's text encoder."""


use rule scene as text with:
    input:
        node=node_file("text"),
        upstream=upstream("text"),
    output:
        finished_link("text"),
    log:
        record("log", "text"),
    benchmark:
        record("benchmark", "text")
    threads: threads_of("text")
    resources:
        **machine("text"),
