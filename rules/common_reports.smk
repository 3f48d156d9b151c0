"""What the pages, the folders of results and the end of a run share: plans of comparisons, commands, last words."""

from i2v3d.benchmark.plan_benchmark import plan_asked, report_folder
from i2v3d.benchmark.plan_run import run_folders, write_run
from i2v3d.workflow.failures import tell_failures
from i2v3d.workflow.results import finished_files, preview_files, result_files

BENCHMARK = report_folder(ASKED)


@functools.cache
def benchmark_plan():
    """The planned clips and variants, and the path of what the report reads about them."""
    plan, path = told(plan_asked, ASKED)
    logger.info(plan.told())
    return plan, path


def benchmark_command(log, plan):
    return (
        f"{PYTHON} -m i2v3d report benchmark --cache {CACHE} --out {BENCHMARK} --log {log}"
        f" --settings {SETTINGS} --plan {plan}"
    )


@functools.cache
def comparison_plan():
    """Path of what the page reads about the run."""
    return told(write_run, ASKED.conf, CACHE, run_plan())


def comparison_command(folder, plan):
    return (
        f"{PYTHON} -m i2v3d report run --cache {CACHE} --log {CACHE}/log/comparison.log"
        f" --out {folder} --plan {plan}"
    )


def write_unfinished_reports():
    """With --keep-going everything else is finished: the reports show what failed as failed."""
    if is_made(benchmark_plan):
        log = f"{CACHE}/log/benchmark.log"
        shell(f"{benchmark_command(log, benchmark_plan()[1])} || true")
    if is_made(run_plan) and len(run_plan().variants) > 1:
        folder = f"results/{run_plan().run}"
        shell(f"{comparison_command(folder, comparison_plan())} || true")


def end_run():
    """Says which variants have no result and why, and shows the files of the others."""
    if is_made(run_plan):
        for line in tell_failures(run_plan(), CACHE):
            logger.error(f"i2v3d: {line}")
        for path in finished_files(run_plan()):
            print(path)
