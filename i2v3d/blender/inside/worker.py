"""The Blender process: `python -m i2v3d.blender.inside.worker JOB.json`. Started by `i2v3d.blender.process` only."""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import resource
import signal
import sys
import traceback
from pathlib import Path

from i2v3d.blender.inside.reporter import Reporter, ReportHandler
from i2v3d.blender.jobs import (
    AdoptJob,
    BlendJob,
    ExamineJob,
    ExportJob,
    FramesJob,
    InspectJob,
    Job,
    LookJob,
    MotionJob,
    ViewsJob,
    load_job,
)
from i2v3d.blender.machine import library_of_import_error, missing_library_error
from i2v3d.errors import I2V3DError

PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def main(job_file: Path) -> int:
    """Runs one job; returns the exit status. Every failure becomes an "error" event."""
    faulthandler.enable()  # a crash leaves its Python stack in the log
    _end_with_parent()
    reporter = Reporter()
    package_log = logging.getLogger("i2v3d")
    package_log.setLevel(logging.INFO)
    package_log.addHandler(ReportHandler(reporter))
    try:
        _run(load_job(job_file), reporter)
    except I2V3DError as error:
        traceback.print_exc()
        reporter.send("error", type=type(error).__name__, message=str(error))
        return 2
    except ImportError as error:
        traceback.print_exc()
        library = library_of_import_error(str(error))
        if library is None:
            raise
        reported = missing_library_error([library])
        reporter.send("error", type="MachineError", message=str(reported))
        return 2
    except Exception as error:
        traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        reporter.send("error", type="RenderError", message=f"Blender failed ({reason})")
        return 1
    reporter.send("done", peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return 0


def _end_with_parent() -> None:
    """Has Linux kill this process when the one that started it is killed, which could not do so itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _run(job: Job, reporter: Reporter) -> None:
    """Runs a job. bpy is imported here, once errors can be reported."""
    if isinstance(job, BlendJob):
        from i2v3d.blender.inside.build import build_blend

        build_blend(Path(job.scene_dir))
    elif isinstance(job, FramesJob):
        from i2v3d.blender.inside.frames import render_frames

        render_frames(job, reporter)
    elif isinstance(job, ViewsJob):
        from i2v3d.blender.inside.viewset import render_views

        render_views(job, reporter)
    elif isinstance(job, AdoptJob):
        from i2v3d.blender.inside.adopt import adopt_blend

        adopt_blend(job)
    elif isinstance(job, ExamineJob):
        from i2v3d.blender.inside.adopt import examine_blend

        examine_blend(job)
    elif isinstance(job, ExportJob):
        from i2v3d.blender.inside.export import export_glb

        export_glb(Path(job.scene_dir), Path(job.path))
    elif isinstance(job, InspectJob):
        from i2v3d.blender.inside.inspection import write_contents

        write_contents(Path(job.mesh), Path(job.out))
    elif isinstance(job, MotionJob):
        from i2v3d.blender.inside.motion import write_motion

        write_motion(job)
    elif isinstance(job, LookJob):
        from i2v3d.blender.inside.motion import write_look

        write_look(job)
    else:
        from i2v3d.blender.inside.figure import write_figure

        write_figure(Path(job.path))


if __name__ == "__main__":
    status = main(Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(status)  # Blender's own teardown can crash and has nothing left to do
