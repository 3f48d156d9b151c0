"""Inverts the coarse keyframes; apart from the keyframes, so that ablations of the sampling share it."""


use rule scene as keyframe_inversion with:
    input:
        node=node_file("keyframe_inversion"),
        upstream=upstream("keyframe_inversion"),
    output:
        finished_link("keyframe_inversion"),
    log:
        record("log", "keyframe_inversion"),
    benchmark:
        record("benchmark", "keyframe_inversion")
    threads: threads_of("keyframe_inversion")
    resources:
        **machine("keyframe_inversion"),
