"""Target mini_report: what the miniature family reaches on held-out clips, with pictures."""


rule mini_report:
    input:
        f"{MINI_REPORT}/report.html",


localrules:
    mini_report_pages,


rule mini_report_pages:
    input:
        plan=lambda wildcards: str(mini_report_plan().write(CACHE, SETTINGS)),
        folders=lambda wildcards: links(mini_report_plan().folders(CACHE)),
    output:
        report(
            f"{MINI_REPORT}/report.html",
            caption="report.rst",
            category="miniature family",
            labels={"what": "numbers, pictures and videos"},
        ),
        metrics=f"{MINI_REPORT}/metrics.json",
        scenes=f"{MINI_REPORT}/scenes.csv",
        text=f"{MINI_REPORT}/report.md",
        pictures=directory(f"{MINI_REPORT}/pictures"),
        videos=directory(f"{MINI_REPORT}/videos"),
    log:
        f"{CACHE}/log/mini_report.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
    params:
        folder=lambda wildcards, output: str(Path(output.metrics).parent),
        cache=CACHE,
    shell:
        f"{PYTHON} -m miniature report --plan {{input.plan:q}} --cache {{params.cache:q}}"
        " --out {params.folder:q} --log {log:q}"


# What the networks reach alone.
rule probe:
    input:
        node=ancient(f"{CACHE}/plan/{{probe}}/{{key}}.json"),
    output:
        f"{FINISHED}/{{probe}}/{{key}}",
    log:
        f"{CACHE}/log/{{probe}}/{{key}}.log",
    benchmark:
        f"{OWN}/benchmark/{{probe}}/{{key}}.tsv"
    wildcard_constraints:
        probe="probe_image|probe_video",
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=1,
        mem_mb=5000,
        runtime=60,
    params:
        folder=f"{CACHE}/{{probe}}/{{key}}",
        cache=CACHE,
        settings=SETTINGS,
    shell:
        f"{PYTHON} -m miniature {{wildcards.probe:q}} --node {{input.node:q}} --cache {{params.cache:q}} "
        "--out {params.folder:q} --finished {output:q} "
        "--settings {params.settings:q} --threads {threads} --log {log:q}"
