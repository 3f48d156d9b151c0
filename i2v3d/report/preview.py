"""The coarse animation of a variant before any diffusion: a video, and one labelled sheet of what to look at."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from i2v3d.artifacts.manifest import require_undamaged
from i2v3d.artifacts.metrics_file import read_metrics
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_folder import MASK, PHOTO, SHEET, SPEC, SceneFolder
from i2v3d.figures.labelled import Panel, labelled_rows
from i2v3d.images import Mask, Rgb, write_rgb, write_video
from i2v3d.workflow.plan import read_variant, stage_dirs

log = logging.getLogger(__name__)

PANEL_PX = 256  # longest side of a picture on the sheet
DIFFERENCE_GAIN = 4  # so that errors of a few grey levels can be seen


@dataclass(frozen=True)
class Coarse:
    """Finished scene and render folders of a variant, and what the two stages measured."""

    scene: SceneFolder
    render: RenderFolder
    frames: int
    fps: int
    metrics: dict[str, Any]
    scene_metrics: dict[str, Any]

    @staticmethod
    def load(scene: Path, render: Path) -> Coarse:
        """Reads what the two stages wrote. Raises ArtifactError if a file of theirs is missing."""
        built, folder = SceneFolder(scene), RenderFolder(render)
        built.require(SPEC, PHOTO, MASK, SHEET)
        spec = built.spec()
        folder.check(spec.frames, flow=folder.has_flow)
        return Coarse(built, folder, spec.frames, spec.fps, read_metrics(render), read_metrics(scene))


def write_preview(variant_file: Path, cache: Path, out: Path) -> None:
    """Writes coarse.mp4, depth.mp4, mask.mp4 and sheet.png of a planned variant whose scene and render stages are done.

    Raises ArtifactError if one of their folders lacks a file or has changed.
    """
    variant = read_variant(variant_file)
    (scene,), (render,) = (stage_dirs(cache, s, variant["keys"][s], 0, None) for s in ("scene", "render"))
    for folder in (scene, render):
        require_undamaged(folder)
    coarse = Coarse.load(scene, render)
    options = variant["config"]["assemble"]
    out.mkdir(parents=True, exist_ok=True)
    frames = (coarse.render.rgb(frame) for frame in range(1, coarse.frames + 1))
    write_video(out / "coarse.mp4", frames, coarse.fps, options["crf"])
    write_pass_films(coarse.render, coarse.frames, coarse.fps, options["crf"], out)
    write_rgb(out / "sheet.png", preview_sheet(coarse, options["sheet_columns"]))
    log.info("%s", first_frame_words(coarse.metrics))
    if doubt := coarse.scene_metrics.get("mask_doubt"):
        log.warning("the foreground %s; give scene.segment.box or points, or a mask", doubt)


def write_pass_films(render: RenderFolder, frames: int, fps: int, crf: int, out: Path) -> None:
    """Writes depth.mp4 and mask.mp4 of a render's frames 1 to `frames`: depth as `depth_picture` between the nearest
    and farthest surface of the shot, and white where the foreground is seen. Raises ArtifactError as `RenderFolder`."""
    near, far = render.depth_range_m()
    numbers = range(1, frames + 1)
    write_video(out / "depth.mp4", (depth_picture(render.depth_m(n), near, far) for n in numbers), fps, crf)
    write_video(out / "mask.mp4", (_grey(render.foreground(n)) for n in numbers), fps, crf)


def first_frame_words(metrics: dict[str, Any]) -> str:
    """How well the first frame shows the photo, in words, from the render's metrics."""
    whole, inside = metrics.get("photo_psnr_db"), metrics.get("photo_psnr_foreground_db")
    if whole is None or inside is None:
        return "frame 1 is not compared with the photo: it is another view, or equal"
    return f"frame 1 against the photo: {inside:.1f} dB in the foreground, {whole:.1f} dB over the frame"


def preview_sheet(coarse: Coarse, columns: int) -> Rgb:
    """Photo against first frame on top; below, `columns` frames with colour, depth and both masks."""
    chosen = np.unique(
        np.linspace(1, coarse.frames, min(columns, coarse.frames)).round().astype(int)
    ).tolist()
    near, far = coarse.metrics["depth_range_m"]
    passes = coarse.render.passes(chosen)
    rows: list[tuple[str, Sequence[Panel]]] = [
        ("photo", _comparison(coarse)),
        ("coarse", [Panel(f"frame {f}", rgb) for f, rgb in zip(chosen, passes.rgb, strict=True)]),
        (
            f"depth, {near:.2g} to {far:.2g} m",
            [Panel("", depth_picture(depth_m, near, far)) for depth_m in passes.depth_m],
        ),
        ("foreground mask", [Panel("", _grey(m)) for m in passes.foreground]),
        ("visible (black: hole)", [Panel("", _grey(m)) for m in passes.visible]),
    ]
    return labelled_rows(rows, PANEL_PX)


def _comparison(coarse: Coarse) -> list[Panel]:
    """Photo, foreground, plate, first frame and their difference."""
    photo, mask, first = coarse.scene.photo(), coarse.scene.mask(), coarse.render.rgb(1)
    source, share = coarse.scene_metrics["mask_source"], 100 * coarse.scene_metrics["mask_coverage"]
    sheet = coarse.scene.sheet()
    plate = sheet[: photo.shape[0], -photo.shape[1] :]
    difference = np.abs(photo.astype(np.int16) - first) if photo.shape == first.shape else first * 0
    return [
        Panel("photo", photo),
        Panel(f"foreground ({source}, {share:.0f} %)", np.where(mask[..., None], photo, np.uint8(128))),
        Panel("background", plate),
        Panel("frame 1", first),
        Panel(
            f"difference x{DIFFERENCE_GAIN}: {_decibels(coarse.metrics)}",
            np.clip(DIFFERENCE_GAIN * difference, 0, 255).astype(np.uint8),
        ),
    ]


def _decibels(metrics: dict[str, Any]) -> str:
    whole, inside = metrics.get("photo_psnr_db"), metrics.get("photo_psnr_foreground_db")
    return "none" if whole is None or inside is None else f"{inside:.1f} dB ({whole:.1f} dB in all)"


def depth_picture(depth_m: np.ndarray, near_m: float, far_m: float) -> Rgb:
    """Planar depth (H, W) in metres as colours (H, W, 3): bright is near, black is nothing.

    Linear in disparity between the shot's nearest and farthest surface, as the networks see it.
    """
    span = max(1 / near_m - 1 / far_m, 1e-9)
    share = np.clip((1 / np.maximum(depth_m, 1e-9) - 1 / far_m) / span, 0, 1)
    colours = cv2.applyColorMap((16 + 239 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.where(np.isfinite(depth_m)[..., None], colours[..., ::-1], np.uint8(0))


def _grey(mask: Mask) -> Rgb:
    return np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
