"""A baseline: every coarse frame refined by the image model."""


use rule scene as sdedit_image with:
    input:
        node=node_file("sdedit_image"),
        upstream=upstream("sdedit_image"),
    output:
        finished_link("sdedit_image"),
    log:
        record("log", "sdedit_image"),
    benchmark:
        record("benchmark", "sdedit_image")
    threads: threads_of("sdedit_image")
    resources:
        **machine("sdedit_image"),
