"""`python -m i2v3d.benchmark KIND --plan FILE --cache FOLDER --out FOLDER`: the reports that the rules make."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from i2v3d.cli import set_up_logging
from i2v3d.errors import I2V3DError

log = logging.getLogger("i2v3d")


def mini_report(plan: Path, cache: Path, out: Path) -> None:
    """results/mini_report."""
    from i2v3d.benchmark.trials import read_plan_file
    from i2v3d.config.sections import build
    from i2v3d.config.weights import WeightsRef
    from i2v3d.models.weights import resolve
    from i2v3d.toy.estimator import ToyEstimator
    from miniature.report import collect
    from miniature.report_page import write_report

    reference = build(WeightsRef, read_plan_file(plan)["estimator"], "evaluate.estimators.toy")
    write_report(collect(plan, cache, ToyEstimator.load(resolve(reference))), cache, out)


def benchmark(plan: Path, cache: Path, out: Path) -> None:
    """results/benchmark."""
    from i2v3d.report.report import write_benchmark

    write_benchmark(plan, cache, out)


def run(plan: Path, cache: Path, out: Path) -> None:
    """results/<run>/comparison.html and .csv."""
    from i2v3d.report.report import write_benchmark

    with tempfile.TemporaryDirectory(prefix="i2v3d-") as temporary:
        write_benchmark(plan, cache, Path(temporary))
        shutil.copyfile(Path(temporary) / "report.html", out / "comparison.html")
        shutil.copyfile(Path(temporary) / "summary.csv", out / "comparison.csv")


KINDS: dict[str, Callable[[Path, Path, Path], None]] = {
    "benchmark": benchmark,
    "mini_report": mini_report,
    "run": run,
}


def main() -> int:
    """Returns the exit code: 0 done, 2 an error that the user can mend."""
    parser = argparse.ArgumentParser(prog="i2v3d.benchmark", description=__doc__)
    parser.add_argument("kind", choices=sorted(KINDS), help="which report")
    parser.add_argument("--plan", type=Path, required=True, help="what the planning wrote about it")
    parser.add_argument("--cache", type=Path, required=True, help="folder of all stages' finished folders")
    parser.add_argument("--out", type=Path, required=True, help="folder that the report's files are put in")
    parser.add_argument(
        "--settings", type=Path, help="run settings that the plan wrote, to track a benchmark with"
    )
    parser.add_argument("--log", type=Path, help="file for the full log, tracebacks included")
    options = parser.parse_args()
    set_up_logging(options.log)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.out, prefix=".") as temporary:
            made = Path(temporary)
            KINDS[options.kind](options.plan, options.cache, made)
            replace_all(made, options.out)
        if options.settings is not None:
            track(options.settings, options.out, options.cache)
    except I2V3DError as error:
        log.debug("traceback", exc_info=True)
        log.error("i2v3d: error: %s", error)
        return 2
    return 0


def track(settings: Path, results: Path, cache: Path) -> None:
    """Writes the runs of a finished benchmark."""
    from i2v3d.workflow import tracking
    from i2v3d.workflow.runner import Settings

    cfg = Settings.load(settings).tracking
    (cache / "tracking").mkdir(parents=True, exist_ok=True)
    tracking.comparison_runs(cfg, group=results.name, results=results, directory=cache / "tracking")


def replace_all(made: Path, out: Path) -> None:
    """Moves every file and folder of `made` into `out`, over what is there by that name."""
    for path in sorted(made.iterdir()):
        there = out / path.name
        if there.is_dir() and not there.is_symlink():
            shutil.rmtree(there)
        path.replace(there)


if __name__ == "__main__":
    sys.exit(main())
