"""Time and GPU memory of the stages with networks at full size, with random weights: nothing is downloaded."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from i2v3d.artifacts.folders import keyframe_numbers, segment_name
from i2v3d.config.sections import build
from i2v3d.models.published import FOLDERS, write_random
from i2v3d.stages.context import StageContext
from i2v3d.stages.registry import STAGES
from i2v3d.stages.stage import Stage
from i2v3d.toy.moving_disc import write_moving_disc
from i2v3d.toy.tokenizer import write_tokenizer
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.runner import load_entry
from i2v3d.workflow.selection import stage_config


def measure(
    folder: Path,
    size: tuple[int, int],
    segments: int,
    views: int,
    timed: Sequence[str],
    device: str,
    words: Sequence[str],
) -> dict[str, Any]:
    """Runs the stages `timed` on a made-up shot of width x height pixels in `folder`.

    words: Hydra words on top of models=sdxl_svd. Returns the machine's names and, for each stage, wall seconds with
    loading of weights, and on a GPU the peak of allocated memory in GiB. Raises ConfigError for words that do not
    compose.
    """
    (variant,) = compose_variants(Path("conf"), _words(folder / "weights", *words))
    config = variant.config
    frames = segments * (config["interpolate"]["segment_frames"] - 1) + 1
    write_moving_disc(folder / "render", frames, size[1], size[0])
    write_moving_disc(folder / "views", views, size[1], size[0])
    (folder / "scene").mkdir()
    (folder / "scene" / "photo.png").hardlink_to(folder / "render" / "rgb" / "0001.png")
    begin = time.monotonic()
    write_random(folder / "weights", device, write_tokenizer)
    result: dict[str, Any] = {
        "machine": torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor(),
        "torch": torch.__version__,
        "size": "{}x{}".format(*size),
        "frames": frames,
        "keyframes": len(keyframe_numbers(frames, config["interpolate"]["segment_frames"])),
        "write_weights_s": round(time.monotonic() - begin, 1),
        "stages": {},
    }
    for name, value in result.items():
        if name != "stages":
            sys.stdout.write(f"{name:<26} {value}\n")
    for name in timed:
        context = StageContext(device, config["runtime"]["max_batch"], folder / "work" / name)
        row = _time_stage(STAGES[name], config, folder, segments, context)
        result["stages"][name] = row
        sys.stdout.write(f"{name:<26} " + ", ".join(f"{k} {v:.1f}" for k, v in row.items()) + "\n")
        sys.stdout.flush()
    return result


def _words(weights: Path, *words: str) -> list[str]:
    """models=sdxl_svd with all weights below the folder `weights`."""
    own = ["models=sdxl_svd", "models.image.vae=null"]
    for side, folders in FOLDERS.items():
        for part, folder in zip(("base", "controlnet"), folders, strict=True):
            place = f"models.{side}.{part}"
            own += [f"{place}.source={weights / folder}"]
            own += [f"{place}.{field}=null" for field in ("revision", "subfolder", "variant")]
    return [*own, *words]


def _time_stage(
    stage: Stage, config: dict[str, Any], folder: Path, segments: int, context: StageContext
) -> dict[str, float]:
    """Runs a stage, all of its segments one after the other."""
    entry = load_entry(stage.entry)
    on_gpu = context.device.startswith("cuda")
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(context.device)
    begin = time.monotonic()
    for segment in range(segments if stage.per_segment else 1):
        own = {"segment": segment} if stage.per_segment else {}
        inputs = {path.name: path for path in folder.iterdir() if path.is_dir()}
        inverted = folder / "interpolation_inversion" / segment_name(segment)
        inputs |= {"interpolation_inversion": inverted}
        out = folder / stage.name / segment_name(segment) if stage.per_segment else folder / stage.name
        out.mkdir(parents=True)
        entry(build(stage.config, {**stage_config(stage, config), **own}, stage.name), inputs, out, context)
    row = {"wall_s": time.monotonic() - begin}
    if on_gpu:
        row["peak_gpu_gib"] = torch.cuda.max_memory_allocated(context.device) / 2**30
    return row
