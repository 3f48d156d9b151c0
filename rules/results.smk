"""The folder of a variant with links, records and captions for the report, and what becomes of a run's variants."""


localrules:
    variant,


rule variant:
    input:
        variant=lambda wildcards: told(
            run_plan().variant_file, CACHE, wildcards.run, wildcards.variant
        ),
        folders=lambda wildcards: links(
            told(run_plan().folders, CACHE, wildcards.run, wildcards.variant)
        ),
    output:
        report(
            "results/{run}/{variant}/video.mp4",
            caption="report/video.rst",
            category="{run}",
            subcategory="{variant}",
            labels={"what": "generated video"},
        ),
        report(
            "results/{run}/{variant}/side_by_side.mp4",
            caption="report/side_by_side.rst",
            category="{run}",
            subcategory="{variant}",
            labels={"what": "coarse render and generated video"},
        ),
        report(
            "results/{run}/{variant}/contact_sheet.png",
            caption="report/contact_sheet.rst",
            category="{run}",
            subcategory="{variant}",
            labels={"what": "contact sheet"},
        ),
        report(
            "results/{run}/{variant}/curves.png",
            caption="report/curves.rst",
            category="{run}",
            subcategory="{variant}",
            labels={"what": "scores over the frames"},
        ),
        report(
            "results/{run}/{variant}/config.yaml",
            caption="report/config.rst",
            category="{run}",
            subcategory="{variant}",
            labels={"what": "configuration"},
        ),
        report(
            "results/{run}/{variant}/provenance.json",
            caption="report/provenance.rst",
            category="{run}",
            subcategory="{variant}",
            labels={"what": "provenance"},
        ),
        coarse="results/{run}/{variant}/coarse.mp4",
        metrics="results/{run}/{variant}/metrics.json",
        rows="results/{run}/{variant}/metrics.csv",
        keyframes=directory("results/{run}/{variant}/keyframes"),
    log:
        f"{CACHE}/log/variant/{{run}}-{{variant}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
    params:
        folder="results/{run}/{variant}",
        cache=CACHE,
        settings=SETTINGS,
    shell:
        f"{PYTHON} -m i2v3d results --variant {{input.variant:q}} --cache {{params.cache:q}}"
        " --settings {params.settings:q} --out {params.folder:q} --log {log:q}"


onstart:
    offer_forks()
    if workflow.non_local_exec and workflow._cores is not None:
        logger.warning(
            f"i2v3d: --cores or profiles/default allow every job of this cluster at most {workflow._cores} cores, and "
            "perhaps one job on a card at a time; use --workflow-profile NAME in place of --profile"
        )


onsuccess:
    end_run()
    if is_made(preview_plan):
        print(*preview_files(preview_plan()), sep="\n")


onerror:
    end_run()
    write_unfinished_reports()
