"""`python -m miniature.write_report --plan FILE --cache FOLDER --out FOLDER`: results/mini_report."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from i2v3d.benchmark.trials import read_plan_file
from i2v3d.config.sections import build
from i2v3d.config.weights import WeightsRef
from i2v3d.errors import I2V3DError
from i2v3d.logs import set_up_logging
from i2v3d.models.weights import resolve
from i2v3d.report.files import replacing
from i2v3d.toy.estimator import ToyEstimator
from miniature.report import collect
from miniature.report_page import write_report

log = logging.getLogger("miniature")


def main() -> int:
    """Returns the exit code: 0 done, 2 an error that the user can mend."""
    parser = argparse.ArgumentParser(prog="miniature.write_report", description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="what the planning wrote about it")
    parser.add_argument("--cache", type=Path, required=True, help="folder of all stages' finished folders")
    parser.add_argument("--out", type=Path, required=True, help="folder that the report's files are put in")
    parser.add_argument("--log", type=Path, help="file for the full log, tracebacks included")
    options = parser.parse_args()
    set_up_logging(options.log)
    try:
        reference = build(WeightsRef, read_plan_file(options.plan)["estimator"], "evaluate.estimators.toy")
        with replacing(options.out) as made:
            found = collect(options.plan, options.cache, ToyEstimator.load(resolve(reference)))
            write_report(found, options.cache, made)
    except I2V3DError as error:
        log.debug("traceback", exc_info=True)
        log.error("miniature: error: %s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
