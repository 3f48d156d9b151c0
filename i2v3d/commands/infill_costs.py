"""Time and GPU memory of the stage `infill` at full size, beside diffusers' own pipeline, with random weights."""

from __future__ import annotations

import dataclasses
import gc
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanVACEPipeline
from torch import Tensor

from i2v3d.artifacts.folders import frame_name, keyframe_numbers
from i2v3d.artifacts.pictures import read_pictures
from i2v3d.artifacts.prompts import EmbeddedPrompts
from i2v3d.commands.stage_costs import matrix_rate
from i2v3d.commands.step_costs import TimedContext
from i2v3d.config.sections import build
from i2v3d.config.stages import InfillStage
from i2v3d.models.memory import prepare
from i2v3d.models.memory import tier as memory_tier
from i2v3d.models.published_wan import TEXT_TOKENS, TEXT_WIDTH, write_random_wan
from i2v3d.models.wan_vace import ClipAutoencoder
from i2v3d.models.wan_vace_weights import load_scheduler, load_transformer
from i2v3d.models.weights import load_network
from i2v3d.stages.infill import fill_segment, segment_clip, start_latents
from i2v3d.stages.registry import STAGES
from i2v3d.toy.moving_disc import write_moving_disc
from i2v3d.workflow.composition import compose_here
from i2v3d.workflow.selection import stage_config

TIER_STEPS = 2  # of a run under a cap, whose memory is asked for
CONTEXT_GIB = 0.6  # of a card, which the driver takes for a process before any tensor


def measure_infill(
    folder: Path, size: tuple[int, int], ways: Sequence[str], tiers: Sequence[str], model: str, device: str,
    words: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Runs one segment of a made-up shot in `folder`, of width x height pixels, in each of the `ways`.

    ways: 'diffusers' is its own pipeline called plainly on the same inputs; the others are values of runtime.perf.
    tiers: values of runtime.memory, of each two steps under a hard cap of the allocator. model: '1.3B' or '14B'. words:
    Hydra words on top of models=wan_vace. Returns the machine's names and, of every run, wall seconds with weights
    loaded anew and of the loop over steps, milliseconds of the median step behind the first, and on a GPU the peak of
    allocated memory in GiB; `distance` of the frames to those of the first way. Raises ConfigError for words that do
    not compose.
    """
    own = [f"models.video.{part}.base.source={folder / 'weights'}" for part in ("networks", "text")]
    config = compose_here(["models=wan_vace", "infill.paste=nothing", *own, *words])
    cfg = build(InfillStage, {**stage_config(STAGES["infill"], config), "segment": 0}, "infill")
    _write_inputs(folder, size, cfg.infill.segment_frames)
    write_random_wan(folder / "weights", model, device)
    on_gpu = device.startswith("cuda")
    result: dict[str, Any] = {
        "machine": torch.cuda.get_device_name(device) if on_gpu else "CPU",
        "torch": torch.__version__,
        "model": model,
        "size": "{}x{}".format(*size),
        "frames": cfg.infill.segment_frames,
        "steps": cfg.infill.steps,
    }
    if on_gpu:
        result["matrix_tflops"] = round(matrix_rate(device) / 1e12)
    for name, value in result.items():
        sys.stdout.write(f"{name:<26} {value}\n")
    result["runs"], first = [], None
    short = dataclasses.replace(cfg, infill=dataclasses.replace(cfg.infill, steps=TIER_STEPS))
    for way, tier in [(way, None) for way in ways] + [("plain", tier) for tier in tiers]:
        row, frames = _timed(cfg if tier is None else short, folder, way, tier, device)
        first = frames if first is None else first
        if frames is not None and first is not None and tier is None:
            row["distance"] = float((frames - first).norm() / first.norm())
        result["runs"].append(row)
        told = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        sys.stdout.write(told + "\n")
        sys.stdout.flush()
    return result


def _write_inputs(folder: Path, size: tuple[int, int], frames: int) -> None:
    """A render, its end frames as keyframes, the first one as the photo, and prompts of random numbers."""
    write_moving_disc(folder / "render", frames, size[1], size[0])
    for name in ("scene", "keyframes", "text"):
        (folder / name).mkdir()
    coarse = folder / "render" / "rgb"
    for number in keyframe_numbers(frames, frames):
        (folder / "keyframes" / frame_name(number)).hardlink_to(coarse / frame_name(number))
    (folder / "scene" / "photo.png").hardlink_to(coarse / frame_name(1))
    random = torch.Generator().manual_seed(1)
    EmbeddedPrompts(*torch.randn(2, TEXT_TOKENS, TEXT_WIDTH, generator=random)).save(folder / "text")


def _timed(
    cfg: InfillStage, folder: Path, way: str, tier: str | None, device: str
) -> tuple[dict[str, Any], Tensor | None]:
    """A row of the table, and the frames (F, 3, H, W) in [0, 1]; none if the card's memory did not hold them."""
    on_gpu = device.startswith("cuda")
    memory = memory_tier(tier or "auto", device)
    if on_gpu:
        gc.collect()
        torch.cuda.empty_cache()
        prepare(memory, device)
        torch.cuda.reset_peak_memory_stats(device)
        total = torch.cuda.get_device_properties(device).total_memory / 2**30
        share = (memory.gb - CONTEXT_GIB) / total if tier else 1.0
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    context = TimedContext(device, 16, folder / "work", fast=way == "fast", weighing=False, memory=memory)
    row: dict[str, Any] = {"way": way, "memory": tier or "no cap", "steps": cfg.infill.steps}
    begin, frames = time.monotonic(), None
    try:
        read = (_by_pipeline if way == "diffusers" else _by_stage)(cfg, folder, context)
        row |= {"wall_s": time.monotonic() - begin, "steps_s": context.steps_s} | context.told(None)
        frames = read()
    except torch.OutOfMemoryError:
        row["failed"] = "out of memory"
    if on_gpu:
        row["peak_gpu_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return row, frames


def _inputs(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in ("scene", "render", "keyframes", "text")}


def _by_stage(cfg: InfillStage, folder: Path, context: TimedContext) -> Callable[[], Tensor]:
    """Runs the stage, which writes its frames, and returns what reads them: the pipeline's are not read either."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    fill_segment(cfg, _inputs(folder), out, context)
    return lambda: read_pictures(sorted(out.glob("*.png")))


def _by_pipeline(cfg: InfillStage, folder: Path, context: TimedContext) -> Callable[[], Tensor]:
    """The same by WanVACEPipeline, as its documentation calls it: everything on the device."""
    prompts = EmbeddedPrompts.load(folder / "text")
    clip, numbers = segment_clip(cfg, _inputs(folder))
    vae = load_network(AutoencoderKLWan, cfg.models.base, "vae", context.device, torch.float32)
    pipeline = WanVACEPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=vae,
        transformer=load_transformer(cfg.models, context.device),
        scheduler=load_scheduler(cfg.models.base, cfg.infill.flow_shift),
    ).to(context.device)
    pipeline.set_progress_bar_config(disable=True)
    height, width = clip.video.shape[2:]
    latents = start_latents(cfg.infill, numbers, ClipAutoencoder(vae), clip).transpose(1, 2)
    reference = None if clip.reference is None else [_as_pil(clip.reference)]
    with context.bar("diffusers") as bar:

        def told(_: Any, step: int, __: Any, state: dict[str, Any]) -> dict[str, Any]:
            bar(step + 1, cfg.infill.steps)
            return state

        made: Tensor = pipeline(
            video=((clip.video + 1) / 2)[None],
            mask=clip.mask.expand(-1, 3, -1, -1)[None],
            reference_images=reference,
            prompt_embeds=prompts.positive[None].to(context.device),
            negative_prompt_embeds=prompts.negative[None].to(context.device),
            height=height,
            width=width,
            num_frames=len(numbers),
            num_inference_steps=cfg.infill.steps,
            guidance_scale=cfg.infill.guidance,
            conditioning_scale=cfg.infill.control_scale,
            latents=latents,
            output_type="pt",
            callback_on_step_end=told,
        ).frames[0]
    frames = made.float().cpu()
    return lambda: frames


def _as_pil(picture: Tensor) -> Any:
    from PIL import Image

    return Image.fromarray(((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
