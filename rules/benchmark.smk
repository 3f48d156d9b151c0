"""`snakemake benchmark`: the method and what it is compared with, on held-out clips with known truth.

`snakemake benchmark --config sweep=NAME` takes another sweep; with --keep-going failed variants are reported as such.
"""

import functools

from i2v3d.benchmark.plan_benchmark import plan_benchmark
from i2v3d.benchmark.plan_run import run_folders, write_run
from i2v3d.benchmark.settings import BenchmarkSettings, load_settings

BENCHMARK = report_folder("benchmark", "benchmark")
if config.get("sweep"):
    BENCHMARK += f"_{config['sweep']}"


@functools.cache
def benchmark_plan():
    """Plans when the target is asked for, in the main process only."""
    try:
        name = config.get("benchmark", "benchmark")
        settings = load_settings(CONF, "benchmark", name, BenchmarkSettings)
        plan = plan_benchmark(CONF, CACHE, settings, config.get("sweep"), hydra_words())
    except I2V3DError as error:
        refuse(error)
    logger.info(plan.told())
    return plan


@functools.cache
def benchmark_plan_file():
    return str(benchmark_plan().write(CACHE, SETTINGS))


def benchmark_command(log):
    return (
        f"{PYTHON} -m i2v3d.benchmark benchmark --cache {CACHE} --out {BENCHMARK} --log {log}"
        f" --settings {SETTINGS} --plan "
    )


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
        benchmark_command("{log}") + "{input.plan}"


COMPARISON = (
    f"{PYTHON} -m i2v3d.benchmark run --cache {CACHE} --log {CACHE}/log/comparison.log"
)


@functools.cache
def run_plan_file():
    return str(write_run(CONF, CACHE, PLAN))


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
        COMPARISON + " --out {params.folder} --plan {input.plan}"


def write_unfinished_reports():
    """With --keep-going everything else is finished: the reports show what failed as failed."""
    if benchmark_plan.cache_info().currsize:
        shell(
            benchmark_command(f"{CACHE}/log/benchmark.log")
            + benchmark_plan_file()
            + " || true"
        )
    elif len(VARIANTS) > 1 and not PREVIEW:
        shell(f"{COMPARISON} --out results/{PLAN.run} --plan {run_plan_file()} || true")
