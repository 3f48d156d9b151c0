"""A baseline: the coarse clip refined by the video model."""


use rule scene as sdedit_video with:
    input:
        node=node_file("sdedit_video"),
        upstream=upstream("sdedit_video"),
    output:
        finished_link("sdedit_video"),
    log:
        record("log", "sdedit_video"),
    benchmark:
        record("benchmark", "sdedit_video")
    threads: threads_of("sdedit_video")
    resources:
        **machine("sdedit_video"),
