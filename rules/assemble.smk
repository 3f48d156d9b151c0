"""The video of a shot, from the method's frames or a baseline's."""


use rule scene as assemble with:
    input:
        node=node_file("assemble"),
        upstream=upstream("assemble"),
    output:
        finished_link("assemble"),
    log:
        record("log", "assemble"),
    benchmark:
        record("benchmark", "assemble")
    threads: threads_of("assemble")
    resources:
        **machine("assemble"),
