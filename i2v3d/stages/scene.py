"""The scene stage: a photo, or a clip of the toy world, becomes a mask, a background plate, meshes and an
animation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from i2v3d.artifacts.metrics_file import write_metrics
from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_folder import SHEET, SceneFolder
from i2v3d.config.scene import BlendSceneConfig, PhotoSceneConfig, SceneConfig, ToySceneConfig
from i2v3d.progress import ignore_step
from i2v3d.scene.from_blend import blend_spec, check_blend, framed_photo
from i2v3d.scene.from_photo import build_photo, check_photo, mask_metrics, write_pictures
from i2v3d.stages.context import StageContext

log = logging.getLogger(__name__)


def check_scene(cfg: SceneConfig) -> None:
    """Refuses, in a fraction of a second (an artist's .blend takes the start of a Blender), what `build_scene` could
    not use.

    Raises InputError for a photo or mask that is missing, unreadable, too small, or of another size, and for
    a mask that selects nothing or everything; ConfigError for an empty box or an animation that does not
    fit the shot, and for a clip that the toy world does not have.
    """
    if isinstance(cfg, ToySceneConfig):
        _check_toy(cfg)
    if isinstance(cfg, PhotoSceneConfig):
        check_photo(cfg)
    if isinstance(cfg, BlendSceneConfig):
        from i2v3d.blender import api

        check_blend(cfg)
        last = cfg.start_frame + cfg.frames - 1
        api.examine_blend(
            Path(cfg.blend), foreground=cfg.foreground, first_frame=cfg.start_frame, last_frame=last
        )


def _check_toy(cfg: ToySceneConfig) -> None:
    from i2v3d.toy.scene import load_clip  # torch, which the check of a photo should not pay

    load_clip(cfg)


def build_scene(cfg: SceneConfig, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Writes scene.json, scene.blend, photo.png, mask.png, plate.png, meshes/, sheet.png and metrics.json.

    A toy scene also has truth/: photo, mask and depth of every frame. Raises InputError or ConfigError
    before heavy work where the input or its animation cannot be used, and the errors of
    `i2v3d.blender.api.save_blend`.
    """
    from i2v3d.blender.api import inspect_mesh, save_blend

    if isinstance(cfg, BlendSceneConfig):
        check_blend(cfg)  # Blender looks at it once it is open
    else:
        check_scene(cfg)
    if isinstance(cfg, ToySceneConfig):
        metrics = _build_toy(cfg, out)
    elif isinstance(cfg, BlendSceneConfig):
        metrics = _build_blend(cfg, out, ctx.work)
    else:
        assert isinstance(cfg, PhotoSceneConfig), cfg.source
        read = partial(inspect_mesh, max_faces=cfg.max_faces, log_dir=ctx.work)
        metrics = build_photo(cfg, out, ctx.work, ctx.device, read)
    write_metrics(out, metrics)
    ctx.log_metrics({name: value for name, value in metrics.items() if isinstance(value, int | float)})
    ctx.log_media("sheet", out / SHEET)
    log.info("scene %r: foreground covers %.1f %% of the frame", cfg.name, 100 * metrics["mask_coverage"])

    if not isinstance(cfg, BlendSceneConfig):
        save_blend(out, max_faces=cfg.max_faces, log_dir=ctx.work)


def _build_blend(cfg: BlendSceneConfig, out: Path, work: Path) -> dict[str, Any]:
    """Everything of a scene made in Blender, scene.blend included; returns its metrics.

    The mask is the foreground as the first frame shows it. Raises InputError or ConfigError as
    `i2v3d.blender.api.adopt_blend`.
    """
    from i2v3d.blender import api

    SceneFolder(out).write_spec(blend_spec(cfg, None))
    contents = api.adopt_blend(Path(cfg.blend), out, foreground=cfg.foreground, log_dir=work)
    SceneFolder(out).write_spec(blend_spec(cfg, contents))
    first = work / "first"
    api.render_frames(out, first, frames=[1], samples=1, device="cpu", on_frame=ignore_step, log_dir=work)
    photo, mask = framed_photo(cfg), RenderFolder(first).foreground(1)
    write_pictures(out, photo, mask, photo, photo)
    return {**mask_metrics("render", mask), "faces": contents["faces"], "objects": len(contents["objects"])}


def _build_toy(cfg: ToySceneConfig, out: Path) -> dict[str, Any]:
    """Everything of a toy scene but scene.blend; returns its metrics."""
    from i2v3d.toy.scene import load_clip, truth, write_toy_scene, write_truth

    clip = load_clip(cfg)
    log.info("rendering %d true frames of held-out clip %d: %s", cfg.frames, cfg.index, cfg.caption)
    known = truth(clip, cfg.width, cfg.height, cfg.samples)
    write_truth(SceneFolder(out), known)
    write_pictures(out, known.photo[0], known.mask[0], known.plate, known.plate)
    meshes = write_toy_scene(cfg, clip, out)
    seen = known.mask[0]
    return {
        **mask_metrics("truth", seen),
        "foreground_depth_m": [float(known.depth_m[0][seen].min()), float(known.depth_m[0][seen].max())],
        "foreground_faces": sum(len(part.mesh.faces) for part in meshes.parts),
        "background_faces": len(meshes.ground.faces) + len(meshes.sky.faces),
    }
