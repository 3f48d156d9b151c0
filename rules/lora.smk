"""Customises the image model to the photo."""


use rule scene as lora with:
    input:
        node=node_file("lora"),
        upstream=upstream("lora"),
    output:
        finished_link("lora"),
    log:
        record("log", "lora"),
    benchmark:
        record("benchmark", "lora")
    threads: threads_of("lora")
    resources:
        **machine("lora"),
