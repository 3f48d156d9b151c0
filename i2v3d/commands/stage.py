"""`i2v3d STAGE`: one planned node of the graph, for the rules; a command a stage."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from safetensors import SafetensorError

from i2v3d.artifacts.shares import Share
from i2v3d.commands.parsers import Group, Options, add_job_options
from i2v3d.errors import MachineError
from i2v3d.stages.registry import STAGES
from i2v3d.stages.stage import Stage
from i2v3d.workflow.process_environment import set_process_environment

log = logging.getLogger(__name__)


def add_parser(group: Group) -> None:
    """A command for every stage that the registry declares."""
    for stage in STAGES.values():
        add_stage(group, stage)


def add_stage(group: Group, stage: Stage) -> None:
    """The command of one stage."""
    parser = group.add(stage.name, partial(run, stage), what=stage.help)
    add_job_options(parser, "node", "frozen node file that the plan wrote", "folder to publish the result as")
    if stage.per_segment:
        parser.add_argument("--segment", type=int, required=True, help="0-based segment of the shot")
    if stage.whole_if is not None:
        parser.add_argument("--share", type=Share.read, help="make only this share, such as 2-of-4")
    parser.add_argument("--settings", type=Path, required=True, help="run settings that the plan wrote")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for all")
    parser.add_argument(
        "--finished",
        type=Path,
        help="link to make to the published folder's record, a share's mark",
    )


def run(stage: Stage, options: Options) -> int:
    """Runs a node of `stage` and publishes its folder. Raises MachineError for a disk that refuses."""
    set_process_environment()

    from i2v3d.workflow.finished import link_finished
    from i2v3d.workflow.plan import Node
    from i2v3d.workflow.runner import Job, Settings, run_job, run_share
    from i2v3d.workflow.shares import mark_share

    try:
        job = Job(
            node=Node.load(options.node),
            cache=options.cache,
            out=options.out,
            segment=getattr(options, "segment", None),
            settings=Settings.load(options.settings),
            threads=options.threads,
        )
        share: Share | None = getattr(options, "share", None)
        if share is None:
            run_job(job, stage)
        else:
            run_share(job, share, stage)
        if options.finished is not None and share is None:
            link_finished(options.out, options.finished)
        elif options.finished is not None:
            mark_share(options.finished)
    except (OSError, SafetensorError) as error:  # what libraries write themselves, on a disk that refuses
        name, words = getattr(error, "filename", None), getattr(error, "strerror", None)
        raise MachineError(
            f"{stage.name}: {words or ' '.join(str(error).split())}{f' ({name})' if name else ''}; free or unlock the "
            f"disk and run the same command again, the log {options.log} says more"
        ) from error
    return 0
