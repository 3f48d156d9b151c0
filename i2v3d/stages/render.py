"""Stage render: the coarse passes of every frame of the scene."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from i2v3d.artifacts.lit import SURFACE_POINTS, no_light, write_lit
from i2v3d.artifacts.manifest import damaged_files
from i2v3d.artifacts.metrics_file import write_metrics
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.artifacts.shares import finished_shares
from i2v3d.blender import api
from i2v3d.blender.renderer import device_for
from i2v3d.blender.report import RenderReport
from i2v3d.config.render import RenderConfig
from i2v3d.errors import RenderError
from i2v3d.geometry.cameras import Array
from i2v3d.images import read_rgb
from i2v3d.models.memory import card_version
from i2v3d.scene.artist_renders import import_renders
from i2v3d.scene.background.image_plane import write_plane_scene
from i2v3d.stages.context import StageContext

log = logging.getLogger(__name__)


def render_passes(cfg: RenderConfig, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Renders rgb, depth, fg_mask, mask, flow and cameras.json of all frames; writes metrics.json.

    With the background 'plane' the scene's plate stands behind the foreground instead of its mesh. An artist's
    renders are taken as they are, have no flow and cast no shadows. With the photo's light there is lit, too. Raises
    RenderError if the foreground is in no frame or nothing is seen at all, ArtifactError if frames are missing,
    InputError if the artist's do not fit the shot. Without a photo of frame 1's view nothing is lit, with a warning.
    """
    scene_dir = inputs["scene"]
    spec = SceneFolder(scene_dir).spec()
    if cfg.light == "photo" and (reason := no_light(SceneFolder(scene_dir))):
        log.warning("%s, so its light cannot be found and no frame is lit; choose render.light=flat", reason)
        cfg = replace(cfg, light="flat")
    if ctx.share is not None:
        frames = ctx.share.of(range(1, spec.frames + 1))
        _render(cfg, scene_dir, spec, frames, out, ctx).save(out)
        return
    render = RenderFolder(out)
    if cfg.folder is not None:
        metrics = import_renders(Path(cfg.folder), spec, out)
    else:
        metrics = _render_whole(cfg, scene_dir, spec, out, ctx)
    render.check(spec.frames, flow=cfg.folder is None)
    if metrics["depth_range_m"] is None:
        raise RenderError(f"no frame of scene {spec.name!r} shows anything; check the camera and its path")
    if spec.foreground() and metrics["foreground_max"] == 0:
        raise RenderError(
            f"no frame of scene {spec.name!r} shows the foreground; check the paths of camera and object"
        )
    metrics |= against_photo(SceneFolder(scene_dir), spec, render)
    if cfg.light == "photo":
        metrics |= _light(SceneFolder(scene_dir), render, ctx)
    write_metrics(out, metrics)
    ctx.log_metrics({key: value for key, value in metrics.items() if isinstance(value, int | float)})
    ctx.log_media("render/first_frame", render.file("rgb", 1))
    log.info("%d coarse frames by %s", spec.frames, metrics["renderer"])


def _render_whole(
    cfg: RenderConfig, scene_dir: Path, spec: SceneSpec, out: Path, ctx: StageContext
) -> dict[str, Any]:
    """Joins the shares that other jobs have made and renders the rest; returns the numbers of metrics.json."""
    report = _take_shares(ctx.work, RenderFolder(out))
    rest = [frame for frame in range(1, spec.frames + 1) if frame not in report.frames]
    report = RenderReport.joined([report, _render(cfg, scene_dir, spec, rest, out, ctx)])
    RenderFolder(out).write_cameras(report.cameras(spec.width, spec.height, spec.fps))
    return report.metrics()


def _take_shares(work: Path, render: RenderFolder) -> RenderReport:
    """Takes the frames of all shares that are whole. Raises OSError."""
    reports = []
    for folder in finished_shares(work):
        if damaged := damaged_files(folder):
            log.warning(
                "the share %s is not as it was made (%s); its frames are rendered anew", folder, damaged[0]
            )
            continue
        render.take(RenderFolder(folder))
        reports.append(RenderReport.load(folder))
    return RenderReport.joined(reports)


def _render(
    cfg: RenderConfig, scene_dir: Path, spec: SceneSpec, frames: Sequence[int], out: Path, ctx: StageContext
) -> RenderReport:
    """Renders some frames of the scene, or none, on what suits the whole shot."""
    if not frames:
        return RenderReport()
    samples = spec.frames * spec.width * spec.height * cfg.samples
    device = device_for(ctx.render_device, ctx.device, samples, spec.frames, card_version)
    with ctx.bar(f"render {spec.name}", "frame") as bar:
        return api.render_frames(
            _with_background(cfg, scene_dir, ctx.work),
            out,
            frames=frames,
            samples=cfg.samples,
            device=device,
            on_frame=bar,
            surface_points=SURFACE_POINTS if cfg.light == "photo" else 0,
            log_dir=ctx.work,
        )


def _light(scene: SceneFolder, render: RenderFolder, ctx: StageContext) -> dict[str, float | None]:
    """Writes `lit` of all frames; returns what was found, and how near frame 1 under that light is to the photo."""
    with ctx.bar("light of the photo", "frame") as bar:
        light = write_lit(render, scene, bar)
    errors = (scene.photo().astype(np.float64) - read_rgb(render.file("lit", 1))) ** 2
    found = {
        "lit_photo_psnr_db": _psnr_db(errors),
        "sun_elevation_deg": float(np.degrees(np.arcsin(light.sun[2]))),
        "haze_per_m": light.haze,
    }
    log.info(
        "the photo's light: a sun %.0f degrees high, haze %.3f a metre; frame 1 under it is %.1f dB from the photo",
        found["sun_elevation_deg"],
        light.haze,
        found["lit_photo_psnr_db"] or np.inf,
    )
    ctx.log_media("render/first_frame_lit", render.file("lit", 1))
    return found


def _with_background(cfg: RenderConfig, scene_dir: Path, work: Path) -> Path:
    """The folder of the scene with the background that is asked for; a plane's is built below `work`."""
    if cfg.background == "mesh":
        return scene_dir
    plane = work / "plane_scene"
    write_plane_scene(scene_dir, plane, cfg.plane_depth)
    api.save_blend(plane, max_faces=cfg.max_faces, log_dir=work)
    return plane


def against_photo(scene: SceneFolder, spec: SceneSpec, render: RenderFolder) -> dict[str, float | None]:
    """PSNR in dB of the first frame against the scene's photo, over the frame and inside the foreground.

    None without a photo of the frame's size, from another view than the photo's, or where the two are equal.
    """
    values: dict[str, float | None] = {"photo_psnr_db": None, "photo_psnr_foreground_db": None}
    if not scene.photo_file.is_file() or not spec.starts_with_photo():
        return values
    expected, rendered = (picture.astype(np.float64) for picture in (scene.photo(), render.rgb(1)))
    if expected.shape != rendered.shape:
        return values
    squared = ((expected - rendered) ** 2).mean(axis=-1)
    inside = squared[scene.mask()]
    return {"photo_psnr_db": _psnr_db(squared), "photo_psnr_foreground_db": _psnr_db(inside)}


def _psnr_db(squared_error: Array) -> float | None:
    error = float(squared_error.mean()) if squared_error.size else 0.0
    return float(10 * np.log10(255**2 / error)) if error else None
