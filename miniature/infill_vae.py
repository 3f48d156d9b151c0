"""The autoencoder of the model that fills in: clips of photos, flat renders and control pictures to latents of four
frames and back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from i2v3d.toy.infill_family import infill_vae
from miniature.data import World, control_condition, disparity, to_bytes, to_signed
from miniature.gradients import captured
from miniature.loop import Run, load_half, optimise, save_half
from miniature.scores import psnr, save_grid
from miniature.settings import ControlSettings, InfillVaeSettings

NO_WALL = ControlSettings(keep=1.0, init=0.0, range=1.0, wall=0.0, wall_near_m=1.0, wall_far_m=1.0)


class ClipBatch(NamedTuple):
    """B clips of F frames. pictures (B, F, 3, H, W) and mask of the object (B, F, 1, H, W), uint8; grey
    (B, F, 1, H, W) bool: where a picture is replaced by mid grey; noise (B, C, T, h, w) for the latents."""

    pictures: torch.Tensor
    mask: torch.Tensor
    grey: torch.Tensor
    noise: torch.Tensor


class ClipPool:
    """Clips on the device, uint8."""

    def __init__(self, world: World, settings: InfillVaeSettings, stream: int) -> None:
        self.settings, device = settings, world.device
        self.generator = torch.Generator(device).manual_seed(stream)
        self.places = torch.Generator().manual_seed(stream)
        pictures, masks = [], []
        for _, frames in world.pool(settings.frames, stream):
            kind = torch.rand(len(frames.photo), 1, 1, 1, 1, generator=self.generator, device=device)
            depth = control_condition(disparity(frames.depth), NO_WALL, None)
            shown = torch.where(kind < settings.coarse, frames.coarse, frames.photo)
            shown = torch.where(kind > 1 - settings.control, depth.expand_as(shown), shown)
            pictures.append(to_bytes(shown))
            masks.append(to_bytes(frames.mask))
        self.pictures, self.masks = torch.cat(pictures), torch.cat(masks)

    def uniform(self, count: int) -> torch.Tensor:
        """Uniform numbers (count, 1, 1, 1, 1) in [0, 1)."""
        return torch.rand(count, 1, 1, 1, 1, generator=self.generator, device=self.pictures.device)

    def batch(self, latent_channels: int) -> ClipBatch:
        """Crops of clips, half of them backwards and half mirrored, all from one place of the picture."""
        settings, count = self.settings, self.settings.loop.batch
        height, width = settings.crop_height, settings.crop_width
        index = (self.uniform(count).flatten() * len(self.pictures)).long()
        top, left = (
            int(torch.randint(full - part + 1, (), generator=self.places))
            for full, part in zip(self.pictures.shape[-2:], (height, width), strict=True)
        )
        backwards, mirrored = self.uniform(count) < 0.5, self.uniform(count) < 0.5
        parts = []
        for pool in (self.pictures, self.masks):
            part = pool[index, ..., top : top + height, left : left + width]
            part = torch.where(backwards, part.flip(1), part)
            parts.append(torch.where(mirrored, part.flip(-1), part).contiguous())
        frames = settings.frames
        grey = self._grey(count, frames, width)
        shape = (count, latent_channels, (frames + 3) // 4, height // 8, width // 8)
        noise = torch.randn(shape, generator=self.generator, device=self.pictures.device)
        return ClipBatch(parts[0], parts[1], grey, noise)

    def _grey(self, count: int, frames: int, width: int) -> torch.Tensor:
        """Where clips are unknown: all but an end, all but the middle, or a side; nowhere in most of them."""
        device = self.pictures.device
        kind = self.uniform(count) / max(self.settings.masked, 1e-6)
        number = torch.arange(frames, device=device).view(1, -1, 1, 1, 1)
        column = torch.arange(width, device=device).view(1, 1, 1, 1, -1)
        ends = (number == 0) | (number == frames - 1)
        side = column < width * self.uniform(count)
        where = (kind < 0.3) & ~ends | (kind >= 0.3) & (kind < 0.6) & ends
        return where | (kind >= 0.6) & (kind < 1) & side


def encoded(vae: Any, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and logarithm of the variance, (B, C, T, h, w), of clips (B, F, 3, H, W) in [-1, 1]."""
    parameters = vae.encode(clips.transpose(1, 2)).latent_dist.parameters.float()
    mean, log_variance = parameters.chunk(2, dim=1)
    return mean, log_variance.clamp(-30, 20)


def decoded(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Clips (B, F, 3, H, W) in [-1, 1] of latents (B, C, T, h, w)."""
    clips: torch.Tensor = vae.decode(latents).sample
    return clips.float().transpose(1, 2)


def clip_loss(vae: Any, batch: ClipBatch, settings: InfillVaeSettings) -> torch.Tensor:
    """Weighted absolute, squared and gradient errors of the clips, and the KL term of the latents."""
    pictures = to_signed(batch.pictures).masked_fill(batch.grey, 0.0)
    mean, log_variance = encoded(vae, pictures)
    again = decoded(vae, mean + batch.noise * torch.exp(0.5 * log_variance))
    difference = again - pictures
    near = nn.functional.max_pool2d(batch.mask.flatten(0, 1).float() / 255, 5, stride=1, padding=2)
    weight = 1 + settings.foreground * near.unflatten(0, batch.mask.shape[:2])
    weight = weight / weight.mean()
    gradient = difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    absolute, squared = (difference.abs() * weight).mean(), (difference**2 * weight).mean()
    return absolute + settings.squared * squared + settings.gradient * gradient + settings.kl * kl


@torch.no_grad()
def standardise(vae: Any, latents: torch.Tensor) -> None:
    """Shifts and scales the latents to mean 0 and deviation 1 in every channel; clips stay the same.

    Both are folded into the 1x1x1 convolutions beside the latents. latents (N, C, T, h, w): of many clips.
    """
    spread, centre = torch.std_mean(latents, (0, 2, 3, 4))
    channels = len(spread)
    quant, back = vae.quant_conv, vae.post_quant_conv
    quant.bias[:channels] -= centre
    quant.bias[:channels] /= spread
    quant.weight[:channels] /= spread.view(-1, 1, 1, 1, 1)
    quant.bias[channels:] -= 2 * spread.log()
    back.bias += back.weight[..., 0, 0, 0] @ centre
    back.weight *= spread.view(1, -1, 1, 1, 1)


@torch.no_grad()
def encode_clips(vae: Any, clips: torch.Tensor) -> torch.Tensor:
    """Posterior modes (B, C, T, h, w) float32 of clips (B, F, 3, H, W) in [-1, 1]."""
    device = clips.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        return torch.cat([encoded(vae, part)[0] for part in clips.split(32)])


@torch.no_grad()
def decode_clips(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Clips (B, F, 3, H, W) in [-1, 1], a few at a time."""
    return torch.cat([decoded(vae, part) for part in latents.split(4)])


def evaluate(vae: Any, world: World, frames: int, out: Path) -> dict[str, float]:
    """Held-out PSNR of photos, objects in them, flat renders and depth; writes a picture."""
    _, held = world.held_out(frames)
    depth = control_condition(disparity(held.depth), NO_WALL, None).expand_as(held.photo)
    rows, scores, inside = [], {}, held.mask.flatten(0, 1) > 0.5
    for name, clips in (("", held.photo), ("_coarse", held.coarse), ("_depth", depth)):
        truth = to_signed(to_bytes(clips))
        made = decode_clips(vae, encode_clips(vae, truth))
        scores[f"psnr{name}"] = psnr(made.flatten(0, 1), truth.flatten(0, 1))
        scores[f"psnr_fg{name}"] = psnr(made.flatten(0, 1), truth.flatten(0, 1), inside)
        rows += [truth[:4, frames // 2], made[:4, frames // 2]]
    save_grid(torch.cat(rows), 4, out / "infill_vae.png")
    return scores


def train_infill_vae(settings: InfillVaeSettings, run: Run) -> dict[str, float]:
    """Trains the autoencoder of clips and writes infill_vae.safetensors.

    run.weights: continues from its infill_vae.safetensors if there is one. Returns the held-out scores.
    """
    vae = infill_vae()
    if (run.weights / "infill_vae.safetensors").is_file():
        load_half(vae, run.weights / "infill_vae.safetensors")
    vae.to(run.device)
    for parameter in vae.parameters():  # the convolutions' kernels, which clips then follow
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    world = World(settings.world, run.device, run.checkpoint)
    pool = ClipPool(world, settings, run.stream)
    channels = int(vae.config.z_dim)

    def loss(*batch: torch.Tensor) -> torch.Tensor:
        return clip_loss(vae, ClipBatch(*batch), settings)

    parameters = list(vae.parameters())
    gradients = captured(loss, lambda: pool.batch(channels), parameters, run.device)
    outcome = optimise(settings.loop, parameters, gradients, run, "infill_vae", [pool.generator, pool.places])
    vae.eval().requires_grad_(False)
    some = pool.pictures[: 8 * settings.world.held_out]
    standardise(vae, torch.cat([encode_clips(vae, to_signed(part)) for part in some.split(32)]))
    save_half(vae, run.out / "infill_vae.safetensors")
    scores = evaluate(vae, world, settings.frames, run.out)
    return {**scores, "steps": outcome.steps, "samples": outcome.samples, "seconds": outcome.seconds}
