"""`snakemake benchmark`: the method and what it is compared with, on held-out clips with known truth.

`snakemake benchmark --config sweep=NAME` takes another sweep; with --keep-going failed variants are reported as such.
"""


rule benchmark:
    input:
        f"{BENCHMARK}/report.html",


localrules:
    benchmark_pages,


rule benchmark_pages:
    input:
        plan=lambda wildcards: str(benchmark_plan()[1]),
        folders=lambda wildcards: links(benchmark_plan()[0].folders(CACHE)),
    output:
        report(
            f"{BENCHMARK}/report.html",
            caption="report/benchmark.rst",
            category="benchmark",
            labels={"what": "tables, plots and videos"},
        ),
        report(
            f"{BENCHMARK}/summary.csv",
            caption="report/benchmark.rst",
            category="benchmark",
            labels={"what": "means and intervals"},
        ),
        rows=f"{BENCHMARK}/rows.csv",
        scenes=f"{BENCHMARK}/scenes.csv",
        text=f"{BENCHMARK}/summary.md",
        gains=f"{BENCHMARK}/gains.csv",
        late=f"{BENCHMARK}/summary_last_third.csv",
        late_gains=f"{BENCHMARK}/gains_last_third.csv",
        by_motion=f"{BENCHMARK}/summary_by_motion.csv",
        failures=f"{BENCHMARK}/failures.csv",
        plots=directory(f"{BENCHMARK}/plots"),
        videos=directory(f"{BENCHMARK}/videos"),
    log:
        f"{CACHE}/log/benchmark.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
    params:
        command=lambda wildcards, input: benchmark_command(input.plan),
    shell:
        "{params.command}"
