"""Everything that can be known to go wrong before any work starts: one cheap look at each input."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

from i2v3d.artifacts.folders import check_clip_frames
from i2v3d.blender.machine import check_machine
from i2v3d.config.infill import InfillConfig
from i2v3d.config.interpolate import FramesOf
from i2v3d.config.models import ModelsConfig, VideoModelConfig, WanVaceConfig
from i2v3d.config.render import RenderConfig
from i2v3d.config.scene import SceneConfig, ToySceneConfig
from i2v3d.config.sections import build
from i2v3d.config.weights import WeightsRef
from i2v3d.errors import ConfigError, MachineError, WeightsError
from i2v3d.models.lora_content import check_lora_content, check_text_width
from i2v3d.models.manifest import check_headers, load_manifest
from i2v3d.models.needs import Need, model_needs
from i2v3d.models.wan_files import check_lora_file, check_transformer_file
from i2v3d.models.weights import missing, resolve
from i2v3d.stages.registry import STAGES
from i2v3d.toy.world.held_out import held_out_caption
from i2v3d.workflow.agreement import check_layers, check_options
from i2v3d.workflow.plan import PREVIEWED, Plan, PlannedVariant
from i2v3d.workflow.selection import needed_stages
from i2v3d.workflow.tracking.mode import tracking_mode

WITH_BLENDER = ("scene", "render", "views")
MINIATURE = "mini"  # the family that was trained on the toy world alone
BYTES_A_PIXEL = 64  # of one frame over all stages: measured at both sizes, rounded up


Check = tuple[str, Callable[[], object]]


def check_plan(plan: Plan, cache: Path) -> None:
    """Checks what a plan needs from its inputs and from the machine.

    A plan of the preview alone needs no weights; what is finished needs no check. Raises MachineError
    (libraries, disk, permissions), InputError (photo, mask), WeightsError (weights that are missing, truncated
    or wrong) or ConfigError (frames, sizes) at the first thing that would stop a stage later.
    """
    for _, check in plan_checks(plan, cache):
        check()


def plan_checks(plan: Plan, cache: Path) -> Iterator[Check]:
    """All checks of a plan, each with the word for what it is about; each raises as `check_plan` says."""
    open_stages = {node.stage for node in plan.nodes if not (cache / node.stage / node.key).is_dir()}
    if open_stages & set(WITH_BLENDER):
        yield "Blender", check_machine
    pixels = 0
    checked: set[object] = set()
    for variant in plan.variants:
        scene = build(SceneConfig, variant.config["scene"], "scene")
        if set(variant.keys) - set(PREVIEWED):
            yield "models", partial(check_families, variant.config)
            yield "options", partial(check_options, variant.config)
        for stage, check in CHECKS.items():
            key = variant.keys.get(stage)
            if key is not None and key not in checked and not (cache / stage / key).is_dir():
                yield stage, partial(check, variant, scene)
            checked.add(key)
        if set(variant.keys) - set(PREVIEWED):
            models = json.dumps(variant.config["models"], sort_keys=True)
            if models not in checked:
                yield "weights", partial(check_weights, variant.config)
            named = models + json.dumps([sorted(variant.keys), variant.config["lora"]["target_modules"]])
            if named not in checked:
                yield "layers", partial(check_named_layers, variant)
            checked |= {models, named}
            family = build(ModelsConfig, variant.config["models"], "models")
            sides = {need.option.split(".")[1] for need in read_needs(variant.config)}
            yield "size", partial(check_sizes, scene, family, sides)
            if "lora" in variant.keys:
                yield "size", partial(check_resolution, variant.config["lora"], family)
        pixels += scene.width * scene.height * scene.frames
    if set().union(*(variant.keys for variant in plan.variants)) - set(PREVIEWED):
        yield "W&B", partial(tracking_mode, plan.tracking)
    for folder in (cache, Path("results")):
        yield "disk", partial(check_writable, folder, BYTES_A_PIXEL * pixels)


def out_of_its_world(config: Mapping[str, Any]) -> str | None:
    """A warning in one line if the miniature is to paint what it was never shown; None if there is nothing to say."""
    models, scene = config["models"]["name"], config["scene"]
    if models != MINIATURE or scene["source"] == "toy":
        return None
    return (
        f"models={MINIATURE} knows nothing but its toy world: video and keyframes of scene '{scene['name']}' will be "
        "smeared; models=sdxl_svd paints real photos, scene=toy shows what the miniature can do"
    )


def check_weights(config: Mapping[str, Any]) -> None:
    """Reads the headers of all weights of the models. Raises WeightsError naming the first that cannot be used."""
    manifest = load_manifest(config["models"]["name"])
    for need in read_needs(config):
        check_headers(need, manifest)


def check_named_layers(variant: PlannedVariant) -> None:
    """Raises LayerError for layers, named in the configuration, that the networks have not."""
    check_layers(variant.config, read_needs(variant.config))


def read_needs(config: Mapping[str, Any]) -> list[Need]:
    """What the stages of a composed configuration read of its models: not both of them have to take part."""
    sources = (source for stage in needed_stages(config) for source, _ in stage.sources.values())
    read = tuple({source.path for source in sources if source.path.startswith("models.")})
    return [need for need in model_needs(config) if need.option.startswith(read)]


def check_families(config: Mapping[str, Any]) -> None:
    """Raises ConfigError if the stage whose frames are shown is none of the chosen video model's."""
    shown, family = config["assemble"]["frames"], config["models"]["video"]["family"]
    families = STAGES[shown].families
    if families and family not in families:
        fitting = (
            f"assemble.frames={name}" for name in get_args(FramesOf) if family in STAGES[name].families
        )
        raise ConfigError(
            f"assemble.frames is {shown}, a stage for models.video.family {' or '.join(families)}, but that is "
            f"{family}; use {' or '.join(fitting)}"
        )


def check_scene(_: PlannedVariant, scene: SceneConfig) -> None:
    """Raises what `i2v3d.stages.scene.check_scene` raises; a toy clip whose words are known needs no torch."""
    if isinstance(scene, ToySceneConfig):
        held_out_caption(scene.seed, scene.variants, scene.index)
    else:
        from i2v3d.stages import (
            scene as stage,  # OpenCV and SciPy, which finished scenes and toys need not wait for
        )

        stage.check_scene(scene)


def check_renders(variant: PlannedVariant, scene: SceneConfig) -> None:
    """Raises InputError unless an artist's own renders, if there are any, fit the scene."""
    renders = build(RenderConfig, variant.config["render"], "render").folder
    if renders is not None:
        from i2v3d.scene.artist_renders import check_render_folder

        check_render_folder(Path(renders), scene.frames, (scene.width, scene.height))


def check_lora(variant: PlannedVariant, _: SceneConfig) -> None:
    """Raises InputError unless a ready LoRA, if there is one, can be one of the image UNet."""
    weights = variant.config["lora"]["weights"]
    if weights is not None:
        path = Path(weights).expanduser()
        check_lora_content(path)
        base = build(ModelsConfig, variant.config["models"], "models").image.base
        check_text_width(path, _read(_part(base, "unet"))["cross_attention_dim"])


def check_infill(variant: PlannedVariant, _: SceneConfig) -> None:
    """Raises WeightsError unless all weights of the video model are there, ConfigError unless it can make segments of
    the wanted length."""
    video = build(WanVaceConfig, variant.config["models"]["video"], "models.video")
    infill = build(InfillConfig, variant.config["infill"], "infill")
    check_own_files(video)
    stride = 2 ** sum(_read(_part(video.networks.base, "vae"))["temperal_downsample"])
    check_clip_frames(infill.segment_frames, stride)
    if infill.start == "overlap" and infill.overlap % stride:
        raise ConfigError(
            f"infill.overlap is {infill.overlap}; the video model needs a multiple of {stride}: use "
            f"{math.ceil(infill.overlap / stride) * stride}"
        )


def check_own_files(video: WanVaceConfig) -> None:
    """Raises InputError for a transformer or a LoRA of the user's that is none of the configured model, ConfigError for
    a pipeline of two transformers."""
    config = _read(_part(video.networks.base, "transformer"))
    if (resolve(video.networks.base) / "transformer_2").is_dir():
        raise ConfigError(
            f"{video.networks.base.source} has two transformers, as Wan 2.2: one for much and one for little "
            "noise, which is not supported; take a Wan 2.1 VACE model"
        )
    if video.networks.transformer is not None:
        check_transformer_file(Path(video.networks.transformer).expanduser(), config)
    for lora in video.networks.loras:
        check_lora_file(Path(lora.file).expanduser(), config)


CHECKS = {
    "scene": check_scene,
    "render": check_renders,
    "lora": check_lora,
    "infill": check_infill,
}


def check_sizes(
    scene: SceneConfig, models: ModelsConfig, sides: Collection[str] = ("image", "video")
) -> None:
    """Raises ConfigError unless the scene's size is a multiple of what the networks of `sides` need, with the nearest
    one."""
    need = 1
    if "image" in sides:
        need = _granularity(models.image.base, models.image.vae)
    if "video" in sides:
        need = math.lcm(need, _video_granularity(models.video))
    for side in ("width", "height"):
        pixels = getattr(scene, side)
        if pixels % need:
            lower = max(need, pixels // need * need)
            raise ConfigError(
                f"scene.{side} is {pixels}; models {models.name!r} need a multiple of {need}: "
                f"use {lower} or {lower + need}"
            )


def check_resolution(lora: Mapping[str, Any], models: ModelsConfig) -> None:
    """Raises ConfigError unless the crops that a LoRA is trained on have a size that the networks take."""
    need, pixels = _granularity(models.image.base, models.image.vae), lora["resolution"]
    if lora["weights"] is None and pixels % need:
        lower = max(need, pixels // need * need)
        raise ConfigError(
            f"lora.resolution is {pixels}; models {models.name!r} need a multiple of {need}: use {lower} or "
            f"{lower + need}"
        )


def check_writable(folder: Path, need_bytes: int) -> None:
    """Raises MachineError if `folder` cannot be made or written, or its disk has less than `need_bytes` free."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    existing = existing.resolve()
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise MachineError(f"{existing} is not writable; change its permissions or run elsewhere")
    free = shutil.disk_usage(existing).free
    if free < need_bytes:
        raise MachineError(
            f"{folder} has {size_told(free)} free, this run writes up to {size_told(need_bytes)}; "
            f"free some or set another cache with --config cache=FOLDER"
        )


def size_told(size: float) -> str:
    """Bytes in the unit that gives one to three digits before the point."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _granularity(base: WeightsRef, vae: WeightsRef | None) -> int:
    """Pixels that a side must be a multiple of: the VAE's factor times the UNet's, from their own configs."""
    root = resolve(base)
    vae_config = _read(resolve(vae) if vae else root / "vae")
    unet_config = _read(root / "unet")
    levels = len(vae_config["block_out_channels"]) + len(unet_config["block_out_channels"]) - 2
    return int(2**levels)


def _video_granularity(video: VideoModelConfig | WanVaceConfig) -> int:
    """The same of a video model."""
    if isinstance(video, VideoModelConfig):
        return _granularity(video.base, None)
    vae = _read(_part(video.networks.base, "vae"))
    factor = 2 ** len(vae["temperal_downsample"]) * (vae.get("patch_size") or 1)
    return int(factor * _read(_part(video.networks.base, "transformer"))["patch_size"][1])


def _part(base: WeightsRef, name: str) -> Path:
    """The folder of a part of a pipeline. Raises WeightsError, with the command that fetches it, if it is not there."""
    folder = resolve(base) / name
    if not folder.is_dir():
        raise missing(base, name)
    return folder


def _read(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); fetch or copy the weights again") from error
