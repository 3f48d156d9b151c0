"""Time and GPU memory of the stages with networks at full size, with random weights: nothing is downloaded."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from i2v3d.artifacts.folders import keyframe_numbers, segment_name
from i2v3d.commands.step_costs import TimedContext
from i2v3d.config.sections import build
from i2v3d.models.memory import Tier, card_index, limited, prepare, tier
from i2v3d.models.published import FOLDERS, write_random
from i2v3d.stages.context import StageContext
from i2v3d.stages.registry import STAGES
from i2v3d.stages.stage import Stage
from i2v3d.toy.moving_disc import write_moving_disc
from i2v3d.toy.tokenizer import write_tokenizer
from i2v3d.workflow.composition import compose_here
from i2v3d.workflow.runner import load_entry, resolve_perf
from i2v3d.workflow.selection import stage_config

PUBLISHED = "sdxl_svd"  # the family whose weights are made up here


def measure(
    folder: Path,
    family: str,
    size: tuple[int, int],
    segments: int,
    interpolated: int,
    views: int,
    timed: Sequence[str],
    device: str,
    perfs: Sequence[str],
    words: Sequence[str],
    cap_gib: float | None,
    counted: bool,
) -> dict[str, Any]:
    """Runs the stages `timed` on a made-up shot of width x height pixels in `folder`, once for each of `perfs`.

    family: of models; the published ones get random weights, the shipped ones are read from `weights/`. interpolated:
    how many of the segments per-segment stages run on. perfs: values of runtime.perf; the same one twice shows what
    only its first run pays for, kernels compiled and plans made. words: Hydra words on top of the family. cap_gib: GPU
    memory that the stages may use. counted: whether the operations of sampled steps are counted. Returns the machine's
    names, on a GPU the rate of large half-precision matrix products, and of every run what `_time_stage` says of its
    stages. Raises ConfigError for words that do not compose.
    """
    published = family == PUBLISHED
    config = full_size_config(folder, *words) if published else compose_here([f"models={family}", *words])
    frames = segments * (config["interpolate"]["segment_frames"] - 1) + 1
    write_shot(folder, size, frames, views)
    begin = time.monotonic()
    if published:
        write_random(folder / "weights", device, write_tokenizer)
    result: dict[str, Any] = {
        "machine": torch.cuda.get_device_name(device)
        if device.startswith("cuda")
        else f"CPU, {platform.machine()}",
        "torch": torch.__version__,
        "models": family,
        "size": "{}x{}".format(*size),
        "frames": frames,
        "keyframes": len(keyframe_numbers(frames, config["interpolate"]["segment_frames"])),
        "write_weights_s": round(time.monotonic() - begin, 1),
    }
    rate = matrix_rate(device) if device.startswith("cuda") else None
    if rate is not None:
        result["matrix_tflops"] = round(rate / 1e12)
    for name, value in result.items():
        sys.stdout.write(f"{name:<26} {value}\n")
    if cap_gib is not None:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(cap_gib * 2**30 / total, card_index(device))
    memory = tier(config["runtime"]["memory"], device)
    prepare(memory, device)
    result["memory"], result["cap_gib"] = memory.name, cap_gib
    result["runs"] = [
        {
            "perf": perf,
            "stages": _time_run(config, folder, interpolated, timed, device, perf, memory, counted, rate),
        }
        for perf in perfs
    ]
    return result


def write_shot(folder: Path, size: tuple[int, int], frames: int, views: int) -> None:
    """A made-up render of width x height pixels in `folder`, its first frame as the photo, and views for the LoRA."""
    write_moving_disc(folder / "render", frames, size[1], size[0])
    write_moving_disc(folder / "views", views, size[1], size[0])
    (folder / "scene").mkdir()
    (folder / "scene" / "photo.png").hardlink_to(folder / "render" / "rgb" / "0001.png")


def matrix_rate(device: str, side: int = 8192, repeats: int = 20) -> float:
    """Operations a second of a half-precision matrix product of random numbers: what the card can do at best."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.float16) for _ in range(2))
    events = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        torch.mm(a, b)
        end.record()
        events.append((begin, end))
    torch.cuda.synchronize(device)
    return 2 * side**3 / (median(begin.elapsed_time(end) for begin, end in events) / 1000)


def _time_run(
    config: dict[str, Any],
    folder: Path,
    segments: int,
    timed: Sequence[str],
    device: str,
    perf: str,
    memory: Tier,
    counted: bool,
    rate: float | None,
) -> dict[str, Any]:
    """Runs every stage once; what an earlier run wrote is written anew. rate: of large matrix products."""
    stages = {}
    for name in timed:
        for place in (folder / name, folder / "work" / name):
            shutil.rmtree(place, ignore_errors=True)
        fast = resolve_perf(perf, device)
        pictures = limited(config["runtime"]["max_batch"], memory.pictures)
        context = TimedContext(
            device,
            pictures,
            folder / "work" / name,
            fast=fast,
            memory=memory,
            counted=counted and name != "lora",  # whose steps are told of many at a time
        )
        stages[name] = _time_stage(STAGES[name], config, folder, segments, context) | context.told(rate)
        told = ", ".join(f"{k} {v:.4g}" for k, v in stages[name].items() if isinstance(v, float))
        sys.stdout.write(f"{perf:<6} {name:<26} {told}\n")
        sys.stdout.flush()
    return stages


def full_size_config(folder: Path, *words: str) -> dict[str, Any]:
    """models=sdxl_svd with weights below `folder`, `words` on top. Raises ConfigError if they do not compose."""
    return compose_here(_words(folder / "weights", *words))


def _words(weights: Path, *words: str) -> list[str]:
    """models=sdxl_svd with all weights below the folder `weights`."""
    own = [f"models={PUBLISHED}", "models.image.vae=null"]
    for side, folders in FOLDERS.items():
        for part, folder in zip(("base", "controlnet"), folders, strict=True):
            place = f"models.{side}.{part}"
            own += [f"{place}.source={weights / folder}"]
            own += [f"{place}.{field}=null" for field in ("revision", "subfolder", "variant")]
    return [*own, *words]


def _time_stage(
    stage: Stage, config: dict[str, Any], folder: Path, segments: int, context: TimedContext
) -> dict[str, Any]:
    """Runs a stage, all of its segments one after the other.

    Returns wall seconds with loading of weights, those of the loops over steps among them, wall seconds of every
    segment, and on a GPU the peak of allocated and reserved memory in GiB.
    """
    on_gpu = context.device.startswith("cuda")
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(context.device)
    each = []
    for segment in range(segments if stage.per_segment else 1):
        begin = time.monotonic()
        run_job(stage, config, folder, segment if stage.per_segment else None, context)
        each.append(time.monotonic() - begin)
    row: dict[str, Any] = {"wall_s": sum(each), "steps_s": context.steps_s, "each_s": each}
    if on_gpu:
        row["peak_gpu_gib"] = torch.cuda.max_memory_allocated(context.device) / 2**30
        row["reserved_gib"] = torch.cuda.max_memory_reserved(context.device) / 2**30
    return row


def run_job(
    stage: Stage, config: dict[str, Any], folder: Path, segment: int | None, context: StageContext
) -> None:
    """Runs a stage, or one segment of it, on what others left in `folder`, into a new folder there."""
    own = {} if segment is None else {"segment": segment}
    inputs = {path.name: path for path in folder.iterdir() if path.is_dir()}
    out = folder / stage.name
    if segment is not None:
        inputs["interpolation_inversion"] = folder / "interpolation_inversion" / segment_name(segment)
        out = out / segment_name(segment)
    out.mkdir(parents=True)
    load_entry(stage.entry)(
        build(stage.config, {**stage_config(stage, config), **own}, stage.name), inputs, out, context
    )
