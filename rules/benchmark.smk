"""`snakemake benchmark`: the method and what it is compared with, on held-out clips with known truth.

`snakemake benchmark --config sweep=NAME` takes another sweep; with --keep-going failed variants are reported as such.
"""


rule benchmark:
    input:
        f"{BENCHMARK}/report.html",


localrules:
    benchmark_pages,
    comparison,


rule benchmark_pages:
    input:
        plan=lambda wildcards: benchmark_plan_file(),
        folders=lambda wildcards: [
            str(folder) for folder in benchmark_plan().folders(CACHE)
        ],
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
    shell:
        benchmark_command("{log}", "{input.plan}")


rule comparison:
    input:
        plan=lambda wildcards: run_plan_file(),
        folders=lambda wildcards: [str(folder) for folder in run_folders(CACHE, PLAN)],
    output:
        report(
            "results/{run}/comparison.html",
            caption="report/comparison.rst",
            category="{run}",
            labels={"what": "comparison of all variants"},
        ),
        table="results/{run}/comparison.csv",
    log:
        f"{CACHE}/log/comparison-{{run}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
    params:
        folder="results/{run}",
    shell:
        comparison_command("{params.folder}", "{input.plan}")
