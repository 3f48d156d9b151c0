"""Paths of the cache, and the plan: made once, when a rule of a target that needs it is asked for its input."""

import functools
import shlex
import sys
from pathlib import Path

from snakemake.logging import logger

from i2v3d.errors import I2V3DError
from i2v3d.stages.registry import STAGES
from i2v3d.workflow.finished import FINISHED, OWN, watched
from i2v3d.workflow.interrupts import INTERRUPTED, LINE, heeded_at_once, show_no_stack
from i2v3d.workflow.plan import PREVIEWED, Node, upstream_dirs
from i2v3d.workflow.planning import Asked, plan_run, planned_runtime
from i2v3d.workflow.profiles import check_profile
from i2v3d.workflow.shares import SHARES, share_marks
from i2v3d.workflow.workplace import set_up

AS_THEY_ARE = str.maketrans(
    {"{": "{{", "}": "}}"}
)  # snakemake takes others for wildcards
ROOT = Path(str(workflow.current_basedir)).parent
ENVIRONMENT = f"{ROOT}/rules/environment.yaml".translate(AS_THEY_ARE)
DEPLOYED = "conda" in {
    str(method) for method in workflow.deployment_settings.deployment_method
}
INTERPRETER = "python" if DEPLOYED else sys.executable
PYTHON = shlex.quote(INTERPRETER).translate(AS_THEY_ARE)  # in shell lines


wildcard_constraints:
    key="[0-9a-f]{12}",
    segment=r"\d{3}",
    run=r"[^/]+",
    variant=r"[^/]+",
    share=r"\d+-of-\d+",


def told(make, *arguments):
    """What make(*arguments) returns; a mistake of the user ends snakemake with the one line that says what to mend."""
    try:
        with heeded_at_once():
            return make(*arguments)
    except KeyboardInterrupt:
        logger.error(LINE.rstrip())
        sys.exit(INTERRUPTED)
    except I2V3DError as error:
        logger.error(f"i2v3d: error: {error}")
        sys.exit(2)


show_no_stack()
told(check_profile, sys.argv, ROOT, Path(str(workflow.main_snakefile)).parent)
ASKED = told(Asked.read, config, told(set_up, ROOT, Path.cwd()))
CACHE = ASKED.cache
SETTINGS = ASKED.settings


@functools.cache
def run_plan():
    """The plan of a run. Jobs on clusters parse this file too, but ask for none: they read their frozen node."""
    plan = told(plan_run, ASKED)
    check_this_machine(plan.runtime)
    if len(plan.variants) > 1:
        logger.info(plan.told())
    return plan


@functools.cache
def preview_plan():
    """The plan of the stages that a preview shows: weights and segments need not be right yet."""
    return told(plan_run, ASKED, PREVIEWED)


def is_made(plan):
    """Whether a target has asked for one of the plans."""
    return plan.cache_info().currsize > 0


def node_file(stage):
    """Input path of a stage's frozen node; its key is the wildcard, and names all that is in it: its age is no matter."""
    return ancient(f"{CACHE}/plan/{stage}/{{key}}.json")


def links(folders):
    """What stands for folders of the cache as input: links of this run's own, brought in line with the cache.

    A finished folder appeared by a rename, so none is incomplete, although snakemake was killed before it knew.
    """
    found = []
    for folder in folders:
        link, finished = watched(CACHE, Path(folder))
        if finished:
            workflow.persistence._unmark_incomplete(str(link))
        found.append(str(link))
    return found


def upstream(stage):
    """Input function: the links of the finished folders that a node (or one segment of it) reads.

    Keys name contents, so that a folder which is made again makes nothing else again.
    """

    def folders(wildcards):
        node = Node.load(CACHE / "plan" / stage / f"{wildcards.key}.json")
        segment = int(wildcards.segment) if "segment" in wildcards.keys() else None
        return links(upstream_dirs(CACHE, node, segment))

    return ancient(folders)


def shares(stage):
    """Input function: the marks of the shares of a node that jobs of their own make before its job."""

    def marks(wildcards):
        node = Node.load(CACHE / "plan" / stage / f"{wildcards.key}.json")
        count = planned_runtime(SETTINGS)["shards"]
        return [str(mark) for mark in share_marks(CACHE, node, count)]

    return ancient(marks)


def finished_link(stage):
    """Output path of a stage: the link of its folder, or of a segment's."""
    parts = ["segment_{segment}"] if STAGES[stage].per_segment else []
    return str(Path(FINISHED, stage, "{key}", *parts))


def record(kind, stage):
    """Path of a job's log, beside its folder, or of its benchmark, which is snakemake's."""
    suffix = "-{segment}" if STAGES[stage].per_segment else ""
    name = f"{stage}/{{key}}{suffix}"
    return f"{CACHE}/log/{name}.log" if kind == "log" else f"{OWN}/benchmark/{name}.tsv"
