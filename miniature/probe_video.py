"""What the miniature's video networks reach alone: middle frames of a held-out clip from its true end frames."""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from i2v3d import images
from i2v3d.artifacts.folders import frame_name
from i2v3d.artifacts.lit import write_lit
from i2v3d.artifacts.pictures import read_pictures
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.config.interpolate import InterpolateConfig
from i2v3d.metrics.fidelity import psnr
from i2v3d.progress import ignore_step
from i2v3d.stages.context import StageContext
from i2v3d.stages.interpolate import InterpolateStage, interpolate_segment
from i2v3d.stages.interpolation_inversion import InterpolationInversionStage, invert_segment
from i2v3d.toy.passes import hide_surfaces, write_passes
from i2v3d.toy.scene import load_clip, truth
from miniature.probes import VideoProbe

log = logging.getLogger(__name__)


def probe_video(cfg: VideoProbe, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Writes metrics.json (PSNR of the middle frames) and sheet.png; reads no other stage.

    All get the true first and last frame and the exact depth. both, forward: from noise with depth alone, guided
    from both ends at every step or from the first frame only. method: as the pipeline interpolates, with inversion
    and injection of the coarse clip. cross_fade: a blend of the two true frames.
    """
    clip = load_clip(cfg.scene)
    size = cfg.scene.width, cfg.scene.height
    known = truth(clip, *size, cfg.scene.samples)
    with tempfile.TemporaryDirectory(prefix="i2v3d-") as temporary:
        work = Path(temporary)
        folders = {name: work / name for name in ("scene", "shown", "hidden", "keyframes", "inversion")}
        write_passes(clip, *size, cfg.scene.samples, folders["shown"])
        hide_surfaces(folders["shown"], folders["hidden"])
        for name in ("scene", "keyframes", "inversion"):
            folders[name].mkdir()
        scene = SceneFolder(folders["scene"])
        scene.write_spec(SceneSpec("clip", *size, cfg.scene.frames, 1, size[0] / 2, size[1] / 2, (), ()))
        images.write_rgb(scene.photo_file, known.photo[0])
        for number in (1, cfg.scene.frames):
            images.write_rgb(folders["keyframes"] / frame_name(number), known.photo[number - 1])
        inverted = InterpolationInversionStage(cfg.models, cfg.inversion, cfg.scene.frames, 0)
        if cfg.inversion.light == "photo":
            write_lit(RenderFolder(folders["shown"]), scene, ignore_step)
        invert_segment(inverted, {"render": folders["shown"]}, folders["inversion"], ctx)
        from_noise = dataclasses.replace(
            cfg.interpolate, injection=False, render_detail=0.0, render_light="flat"
        )
        ways = {
            "both": (dataclasses.replace(from_noise, direction="both", interp_strength=1.0), "hidden"),
            "forward": (dataclasses.replace(from_noise, direction="forward"), "hidden"),
            "method": (cfg.interpolate, "shown"),
        }
        made = {
            name: _interpolate(cfg, way, folders, render, work / name, ctx)
            for name, (way, render) in ways.items()
        }
    true = torch.from_numpy(known.photo.copy()).permute(0, 3, 1, 2).float() / 255
    ramp = torch.linspace(0, 1, len(true)).view(-1, 1, 1, 1)
    made["cross_fade"] = true[:1] * (1 - ramp) + true[-1:] * ramp
    scores = {name: float(psnr(video, true)[1:-1].mean()) for name, video in made.items()}
    (out / "metrics.json").write_text(json.dumps({"psnr": scores}, indent=1, allow_nan=False) + "\n")
    _write_sheet(out / "sheet.png", [true, *made.values()])
    ctx.log_metrics({f"psnr/{name}": value for name, value in scores.items()})
    log.info("clip %d: %s dB", cfg.scene.index, ", ".join(f"{k} {v:.2f}" for k, v in scores.items()))


def _interpolate(
    cfg: VideoProbe,
    way: InterpolateConfig,
    folders: Mapping[str, Path],
    render: str,
    out: Path,
    ctx: StageContext,
) -> Tensor:
    """The clip (F, 3, H, W) in [0, 1] by the stage itself."""
    out.mkdir()
    inputs = {
        "render": folders[render],
        "keyframes": folders["keyframes"],
        "interpolation_inversion": folders["inversion"],
    }
    interpolate_segment(InterpolateStage(cfg.models, way, 0), inputs, out, ctx)
    return read_pictures([out / frame_name(n) for n in range(1, cfg.scene.frames + 1)])


def _write_sheet(path: Path, videos: list[Tensor]) -> None:
    """A row a video: first, last and frames between them."""
    shown = torch.linspace(0, len(videos[0]) - 1, 6).round().long()
    rows = [
        [(frame.permute(1, 2, 0) * 255).round().byte().contiguous().numpy() for frame in video[shown]]
        for video in videos
    ]
    images.write_rgb(path, images.grid(rows))
