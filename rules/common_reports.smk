"""What the pages, the folders of results and the end of a run share: plans of comparisons, commands, last words."""

from i2v3d.benchmark.plan_benchmark import make_due, plan_asked, report_folder
from i2v3d.benchmark.plan_run import run_folders, write_run
from i2v3d.workflow.failures import tell_failures
from i2v3d.workflow.results import finished_files, preview_files, result_files

BENCHMARK = report_folder(ASKED)


@functools.cache
def benchmark_plan():
    """The planned clips and variants, and the path of what the report reads about them."""
    plan, path = told(plan_asked, ASKED)
    check_this_machine(plan.planned.plan.runtime)
    logger.info(plan.told())
    return plan, path


def benchmark_command(plan):
    """Shell words that write the pages of the benchmark."""
    files = {"cache": CACHE, "out": BENCHMARK, "log": f"{CACHE}/log/benchmark.log"}
    return report_command("benchmark", files | {"settings": SETTINGS, "plan": plan})


def report_command(kind, files):
    """Shell words of `i2v3d report`, quoted. files: option -> path."""
    words = [word for option, path in files.items() for word in (f"--{option}", path)]
    return shlex.join(map(str, [INTERPRETER, "-m", "i2v3d", "report", kind, *words]))


@functools.cache
def comparison_plan(run):
    """Path of what the page reads about the run."""
    told(run_plan().check_run, run)
    return told(write_run, ASKED.conf, CACHE, run_plan())


def comparison_command(plan, run):
    """Shell words that write the page of a run."""
    files = {"cache": CACHE, "log": f"{CACHE}/log/comparison-{run}.log"}
    return report_command("run", files | {"out": f"results/{run}", "plan": plan})


def write_unfinished_reports():
    """With --keep-going everything else is finished: the reports show what failed as failed."""
    commands = []
    if is_made(benchmark_plan):
        commands.append(benchmark_command(benchmark_plan()[1]))
    if is_made(run_plan) and len(run_plan().variants) > 1:
        commands.append(
            comparison_command(comparison_plan(run_plan().run), run_plan().run)
        )
    for command in commands:
        shell("{command} || true")
    if is_made(benchmark_plan):
        make_due(Path(f"{BENCHMARK}/report.html"), benchmark_plan()[1])


def end_run():
    """Says which variants have no result and why, and shows the files of the others."""
    if is_made(run_plan):
        for line in tell_failures(run_plan(), CACHE):
            logger.error(f"i2v3d: {line}")
        for path in finished_files(run_plan()):
            print(path)
