"""Render the frames of a shot from scene.blend, every pass."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import bpy
import numpy as np

from i2v3d.artifacts.render_folder import RenderFolder, seen_range_m
from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.inside.camera import Array, read_cameras, unit_m
from i2v3d.blender.inside.materials import check_all_textures
from i2v3d.blender.inside.passes import Float, Passes, coarse_frame, in_metres, read_passes
from i2v3d.blender.inside.reporter import Reporter
from i2v3d.blender.inside.roles import assign_indices
from i2v3d.blender.inside.settings import configure, reset
from i2v3d.blender.inside.surface import surface_points
from i2v3d.blender.jobs import FramesJob
from i2v3d.errors import I2V3DError, RenderError

log = logging.getLogger(__name__)
BLEND = "scene.blend"


def open_scene(scene_dir: Path, *, samples: int, device: str, threads: int) -> tuple[SceneSpec, str]:
    """Opens scene_dir/scene.blend with every setting pinned; returns its specification and what renders.

    Size, rate and length come from scene.json, everything that is seen from scene.blend. Scripts inside it
    do not run. Raises RenderError if Blender cannot open it or a newer version wrote it.
    """
    spec = SceneSpec.load(scene_dir / "scene.json")
    blend = scene_dir / BLEND
    load_blend(blend, RenderError)
    scene = bpy.context.scene
    renderer = configure(scene, spec, samples=samples, device=device, threads=threads)
    assign_indices(scene)
    check_all_textures(scene)
    log.info("Blender %s renders %s on the %s", bpy.app.version_string, blend.name, renderer)
    return spec, renderer


def load_blend(blend: Path, failure: type[I2V3DError]) -> None:
    """Opens a .blend; scripts inside it do not run. Raises `failure` if Blender cannot open it or a newer
    version wrote it."""
    reset()
    try:
        bpy.ops.wm.open_mainfile(filepath=str(blend), load_ui=False, use_scripts=False)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise failure(
            f"Blender {_dotted(bpy.app.version)} cannot open {blend} ({reason}); save it with that version again"
        ) from error
    if bpy.data.version[:2] > bpy.app.version[:2]:
        raise failure(
            f"{blend} was saved by Blender {_dotted(bpy.data.version)}, newer than the "
            f"{_dotted(bpy.app.version)} used here; save it with that version"
        )


def render_still(scene: bpy.types.Scene, work: Path) -> Passes:
    """Renders the scene's current frame and reads its passes back. Raises RenderError if Blender refuses."""
    path = work / "passes.exr"
    scene.render.filepath = str(path)
    try:
        bpy.ops.render.render(write_still=True)
        return in_metres(read_passes(path), unit_m(scene))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise RenderError(f"Blender cannot render frame {scene.frame_current}: {reason}") from error
    finally:
        path.unlink(missing_ok=True)


def render_frames(job: FramesJob, reporter: Reporter) -> None:
    """Renders the frames of a job; sends one "frame" event each, with its camera and statistics."""
    render, work = RenderFolder(Path(job.out)), Path(job.work)
    spec, renderer = open_scene(
        Path(job.scene_dir), samples=job.samples, device=job.device, threads=job.threads
    )
    reporter.send("renderer", name=renderer)
    scene = bpy.context.scene
    following = {min(frame + 1, spec.frames) for frame in job.frames}
    before_first = spec.start_frame - 1  # frames are numbered from 1 whatever part of the timeline they show
    cameras = read_cameras(scene, sorted(following | set(job.frames)), before_first)
    for frame in job.frames:
        start = time.perf_counter()
        scene.frame_set(before_first + frame)
        passes = render_still(scene, work)
        K, w2c = cameras[frame]
        flow = None
        if frame < spec.frames:
            flow = _follow_lens_shift(passes, K, cameras[frame + 1][0])
        render.write(frame, coarse_frame(passes, flow))
        if job.surface_points:
            render.write_surface(frame, unit_m(scene) * surface_points(scene, job.surface_points))
        seconds = time.perf_counter() - start
        reporter.send("frame", frame=frame, seconds=seconds, **camera_event(K, w2c), **statistics(passes))


def _follow_lens_shift(passes: Passes, K: Array, next_K: Array) -> Float:
    """Adds to the flow the motion of the principal point, which Blender's vector pass leaves out."""
    moved = (next_K - K)[:2, 2].astype(np.float32)
    return np.where(passes.visible[..., None], passes.flow_px + moved, np.float32(0))


def camera_event(K: Array, w2c: Array) -> dict[str, list[list[float]]]:
    """A camera as JSON."""
    return {"K": K.tolist(), "w2c": w2c.tolist()}


def statistics(passes: Passes) -> dict[str, object]:
    """What a frame shows: fractions of its pixels and the range of its depth (None: nothing is seen)."""
    return {
        "foreground": float(passes.foreground.mean()),
        "visible": float(passes.visible.mean()),
        "depth_range_m": seen_range_m(passes.depth_m),
    }


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(str(part) for part in version)
