"""The model that fills in clips: Wan VACE's transformer with its control branch, trained along a straight flow."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from i2v3d.artifacts.files import write_text
from i2v3d.diffusion.flow_matching import integrate
from i2v3d.guidance.control_clip import control_clip
from i2v3d.metrics.control import mask_iou
from i2v3d.metrics.fidelity import psnr as frame_psnr
from i2v3d.models.judges import MASK_THRESHOLD
from i2v3d.models.wan_vace import ClipAutoencoder, FillCondition, FillNetwork, control_latents
from i2v3d.progress import ignore_step
from i2v3d.toy.estimator import ToyEstimator, estimator_network
from i2v3d.toy.infill_family import infill_scheduler, infill_transformer, infill_vae
from miniature.data import World, control_condition, disparity, prompts, to_bytes, to_signed
from miniature.gradients import captured
from miniature.infill_pool import ControlPool, Texts
from miniature.infill_vae import NO_WALL
from miniature.loop import Run, load_half, merge, optimise, save_half
from miniature.scores import psnr, save_grid
from miniature.settings import InfillSettings, load

TIMESTEPS = 1000


def flow_loss(
    transformer: Any,
    latents: torch.Tensor,
    noise: torch.Tensor,
    level: torch.Tensor,
    control: torch.Tensor,
    text: torch.Tensor,
) -> torch.Tensor:
    """Squared error of the velocity, noise - latents. level: (B,), the noise's part in [0, 1]. Source: Lipman et al.,
    Flow Matching for Generative Modeling, 2023."""
    part = level.view(-1, 1, 1, 1, 1)
    velocity = transformer(
        hidden_states=(1 - part) * latents + part * noise,
        timestep=level * TIMESTEPS,
        encoder_hidden_states=text,
        control_hidden_states=control,
        return_dict=False,
    )[0]
    return ((velocity.float() - (noise - latents)) ** 2).mean()


def frozen_infill_vae(run: Run) -> Any:
    """The trained autoencoder of clips."""
    vae = infill_vae()
    load_half(vae, run.weights / "infill_vae.safetensors")
    return vae.to(run.device).eval().requires_grad_(False)


def train_infill(settings: InfillSettings, run: Run) -> dict[str, float]:
    """Trains the transformer and writes infill.safetensors.

    run.weights must hold infill_vae.safetensors; the training goes on from its infill.safetensors if there is one.
    Returns held-out scores.
    """
    world, vae, transformer = (
        World(settings.world, run.device, run.checkpoint),
        frozen_infill_vae(run),
        infill_transformer(),
    )
    if (run.weights / "infill.safetensors").is_file():
        load_half(transformer, run.weights / "infill.safetensors")
    transformer.to(run.device)
    pool = ControlPool(world, vae, settings, run)
    if run.device.type == "cuda":
        for block in (*transformer.blocks, *transformer.vace_blocks):
            block.compile(dynamic=False)

    def loss(*batch: torch.Tensor) -> torch.Tensor:
        return flow_loss(transformer, *batch)

    parameters = list(transformer.parameters())
    gradients = captured(loss, pool.batch, parameters, run.device)
    outcome = optimise(settings.loop, parameters, gradients, run, "infill", [pool.generator])
    save_half(transformer.eval().requires_grad_(False), run.out / "infill.safetensors")
    fresh = infill_transformer().to(run.device).eval().requires_grad_(False)
    load_half(fresh, run.out / "infill.safetensors")
    scores = evaluate(fresh, vae, world, settings, run)
    return {**scores, "steps": outcome.steps, "samples": outcome.samples, "seconds": outcome.seconds}


def judge(config: Path, weights: Sequence[Path], steps: Sequence[int], device: str, out: Path) -> None:
    """Writes infill_STEPS.json and infill.png of trained weights, for samplings of several lengths."""
    settings = load(config, InfillSettings)
    with tempfile.TemporaryDirectory() as scratch:
        out.mkdir(parents=True, exist_ok=True)
        run = Run(merge(weights, Path(scratch) / "weights"), out, torch.device(device), 0, 0.0)
        transformer = infill_transformer()
        load_half(transformer, run.weights / "infill.safetensors")
        transformer.to(run.device).eval().requires_grad_(False)
        world = World(settings.world, run.device)
        for count in steps:
            chosen = dataclasses.replace(settings, steps=count)
            scores = evaluate(transformer, frozen_infill_vae(run), world, chosen, run)
            write_text(out / f"infill_{count}.json", json.dumps(scores, indent=2) + "\n")


@torch.no_grad()
def fill(
    transformer: Any, vae: Any, size: tuple[int, int, int], known: Mapping[int, torch.Tensor],
    control: torch.Tensor | None, reference: torch.Tensor, text: torch.Tensor, steps: int, seed: int, shift: float
) -> torch.Tensor:  # fmt: skip
    """A clip (F, 3, H, W) of `size` (F, H, W) by the functions of the stage, without classifier-free guidance.

    known: position -> picture; control (F, 3, H, W); reference (3, H, W); text (L, D)."""
    autoencoder, device = ClipAutoencoder(vae), vae.device
    clip = control_clip(size, control, known, None, reference)
    told = control_latents(autoencoder, clip.video.to(device), clip.mask.to(device), reference.to(device))
    condition = FillCondition(text[None], told[None])
    network = FillNetwork(transformer, 1.0)
    channels, latents = int(vae.config.z_dim), (size[0] - 1) // autoencoder.stride + 2
    shape = (1, latents, channels, size[1] // autoencoder.factor, size[2] // autoencoder.factor)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
    scheduler = type(infill_scheduler()).from_config(infill_scheduler().config, flow_shift=shift)
    made = integrate(scheduler, steps, start, lambda x, t, _: network(x, t, condition), ignore_step)
    return autoencoder.decode(made[0, 1:].transpose(0, 1))


@torch.no_grad()
def evaluate(
    transformer: Any, vae: Any, world: World, settings: InfillSettings, run: Run
) -> dict[str, float]:
    """PSNR of middle frames from true end frames, the first one as reference and depth, beside a cross-fade; writes a
    picture. no_depth: without control; first: the first frame alone known; inverted: depth whose polarity is wrong;
    end: of the end frames, as made. mask_iou: overlap of the object that the family's estimator finds with the true
    one, if run.weights holds estimator.safetensors."""
    scenes, frames = world.held_out(settings.frames)
    truth = to_signed(to_bytes(frames.photo)).cpu()
    near = 2 * control_condition(disparity(frames.depth), NO_WALL, None).cpu() - 1
    depth, texts = near.expand_as(truth), prompts(scenes, torch.zeros(scenes.size), None, lambda: 0.0)
    text = Texts(vae.device)(texts)
    last, size = settings.frames - 1, (settings.frames, *truth.shape[-2:])
    ramp = torch.linspace(0, 1, settings.frames).view(1, -1, 1, 1, 1)
    made: dict[str, list[torch.Tensor]] = {name: [] for name in ("both", "no_depth", "inverted", "first")}
    for n, clip in enumerate(truth):
        for name, clips in made.items():
            known = {0: clip[0]} | ({} if name == "first" else {last: clip[last]})
            control = {"no_depth": None, "inverted": -depth[n]}.get(name, depth[n])
            seed = settings.world.seed + n
            given = (clip[0], text[n], settings.steps, seed, settings.shift)
            clips.append(fill(transformer, vae, size, known, control, *given))
    shown = {name: torch.stack(clips) for name, clips in made.items()}
    shown["cross_fade"] = truth[:, :1] * (1 - ramp) + truth[:, -1:] * ramp
    again = [ClipAutoencoder(vae).decode(ClipAutoencoder(vae).encode(clip)) for clip in truth]
    shown["vae"] = torch.stack(again)
    order = torch.linspace(0, last, 6).round().long()
    rows = [
        clips[n, order]
        for n in range(min(4, len(truth)))
        for clips in (truth, shown["both"], shown["no_depth"], shown["cross_fade"])
    ]
    save_grid(torch.cat(rows), 6, run.out / "infill.png")
    scores = {
        f"psnr_{name}": psnr(clips[:, 1:-1].flatten(0, 1), truth[:, 1:-1].flatten(0, 1))
        for name, clips in shown.items()
    }
    unit = ((shown["both"] + 1) / 2, (truth + 1) / 2)
    for name, at in (("first", 0), ("last", last)):
        scores[f"psnr_end_{name}"] = float(frame_psnr(*(clips[:, at] for clips in unit)).mean())
    return scores | _overlaps({**shown, "truth": truth}, frames.mask, run)


def _overlaps(clips: Mapping[str, torch.Tensor], mask: torch.Tensor, run: Run) -> dict[str, float]:
    """Mask IoU of middle frames of clips (B, F, 3, H, W) with coverage (B, F, 1, H, W); none without an estimator."""
    if not (run.weights / "estimator.safetensors").is_file():
        return {}
    network = estimator_network()
    load_half(network, run.weights / "estimator.safetensors")
    estimator = ToyEstimator(network.to(run.device).eval())
    inside = mask[:, 1:-1, 0].flatten(0, 1).cpu() > 0.5
    found = {}
    for name, clip in clips.items():
        middle = ((clip[:, 1:-1].flatten(0, 1) + 1) / 2).clamp(0, 1)
        parts = [estimator.mask(part.to(run.device))[:, 0].cpu() for part in middle.split(32)]
        found[f"mask_iou_{name}"] = float(mask_iou(torch.cat(parts) > MASK_THRESHOLD, inside).mean())
    return found
