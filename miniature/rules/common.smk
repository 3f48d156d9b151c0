"""The plan of the report, made when its target is asked for."""

import functools

from i2v3d.benchmark.settings import load_settings
from miniature.report_plan import ReportSettings, plan_report

MINI_REPORT = "results/mini_report" + (
    "" if REPORT_NAME == "default" else f"_{REPORT_NAME}"
)


@functools.cache
def mini_report_plan():
    """Plans when the target is asked for, in the main process only."""
    own = Path(workflow.basedir, "conf")
    settings = told(load_settings, own, "report", REPORT_NAME, ReportSettings)
    return told(plan_report, ASKED.conf, CACHE, settings, ASKED.words)
