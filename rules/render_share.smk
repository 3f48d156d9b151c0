"""Some of a shot's frames, before its render joins them and makes the rest: runtime.shards=K asks for K such jobs."""


use rule scene as render_share with:
    input:
        node=node_file("render"),
        upstream=upstream("render"),
    output:
        f"{SHARES}/render/{{key}}/{{share}}",
    log:
        f"{CACHE}/log/render/{{key}}-share-{{share}}.log",
    benchmark:
        f"{OWN}/benchmark/render/{{key}}-share-{{share}}.tsv"
    threads: threads_of("render")
    resources:
        **machine("render"),
    params:
        stage="render",
        cache=CACHE,
        settings=SETTINGS,
        folder=lambda wildcards: CACHE / "render" / wildcards.key,
        segment=lambda wildcards: f"--share {wildcards.share}",
