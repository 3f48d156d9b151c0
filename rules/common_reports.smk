"""The plans of reports over many shots, made when a target asks for them, and the commands that write the pages."""

import functools

from i2v3d.benchmark.plan_benchmark import plan_benchmark
from i2v3d.benchmark.plan_run import run_folders, write_run
from i2v3d.benchmark.settings import BenchmarkSettings, load_settings

NAME = config.get("benchmark", "benchmark")
BENCHMARK = "results/benchmark" + ("" if NAME == "benchmark" else f"_{NAME}")
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


def benchmark_command(log, plan):
    return (
        f"{PYTHON} -m i2v3d report benchmark --cache {CACHE} --out {BENCHMARK} --log {log}"
        f" --settings {SETTINGS} --plan {plan}"
    )


def comparison_command(folder, plan):
    return (
        f"{PYTHON} -m i2v3d report run --cache {CACHE} --log {CACHE}/log/comparison.log"
        f" --out {folder} --plan {plan}"
    )


@functools.cache
def run_plan_file():
    return str(write_run(CONF, CACHE, PLAN))


def write_unfinished_reports():
    """With --keep-going everything else is finished: the reports show what failed as failed."""
    if benchmark_plan.cache_info().currsize:
        log = f"{CACHE}/log/benchmark.log"
        shell(f"{benchmark_command(log, benchmark_plan_file())} || true")
    elif len(VARIANTS) > 1 and not PREVIEW:
        folder = f"results/{PLAN.run}"
        shell(f"{comparison_command(folder, run_plan_file())} || true")
