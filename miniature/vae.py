"""The autoencoder: photos, flat renders and objects on white; errors on the object weigh more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from i2v3d.toy.architectures import image_vae
from miniature.data import World, to_bytes, to_signed
from miniature.gradients import plain
from miniature.loop import Run, load_half, optimise, save_half
from miniature.scores import psnr, save_grid
from miniature.settings import VaeDecoderSettings, VaeSettings

log = logging.getLogger(__name__)


class PicturePool:
    """Pictures and object masks on the device, uint8."""

    def __init__(self, world: World, settings: VaeSettings | VaeDecoderSettings, stream: int) -> None:
        generator = torch.Generator(world.device).manual_seed(stream)
        pictures, masks = [], []
        for _, frames in world.pool(1, stream):
            photo, coarse, mask = frames.photo[:, 0], frames.coarse[:, 0], frames.mask[:, 0]
            kind = torch.rand(len(photo), 1, 1, 1, generator=generator, device=world.device)
            view = coarse * mask + (1 - mask)
            picture = torch.where(kind < settings.coarse, coarse, photo)
            picture = torch.where(kind > 1 - settings.views, view, picture)
            pictures.append(to_bytes(picture))
            masks.append(to_bytes(mask))
        self.pictures, self.masks = torch.cat(pictures), torch.cat(masks)
        self.generator = generator

    def batch(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures in [-1, 1] and masks in [0, 1], half of them mirrored."""
        device = self.pictures.device
        index = torch.randint(len(self.pictures), (count,), generator=self.generator, device=device)
        picture, mask = to_signed(self.pictures[index]), self.masks[index].float() / 255
        mirror = torch.rand(count, 1, 1, 1, generator=self.generator, device=device) < 0.5
        picture = torch.where(mirror, picture.flip(-1), picture)
        mask = torch.where(mirror, mask.flip(-1), mask)
        return picture.contiguous(memory_format=torch.channels_last), mask


def _edges(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return image[..., 1:, :] - image[..., :-1, :], image[..., 1:] - image[..., :-1]


def vae_loss(
    vae: Any, picture: torch.Tensor, mask: torch.Tensor, noise: torch.Tensor, settings: VaeSettings
) -> torch.Tensor:
    """Weighted absolute, squared and gradient errors of the pictures, and the KL term of the latents."""
    mean, log_variance = vae.quant_conv(vae.encoder(picture)).float().chunk(2, dim=1)
    log_variance = log_variance.clamp(-30, 20)
    latents = mean + noise * torch.exp(0.5 * log_variance)
    difference = vae.decoder(latents).float() - picture
    # The weight reaches a little beyond the silhouette: edges are where the object smears.
    near = nn.functional.max_pool2d(mask, 5, stride=1, padding=2)
    weight = 1 + settings.foreground * near
    weight = weight / weight.mean()
    vertical, horizontal = _edges(difference)
    gradient = (vertical.abs() * weight[..., 1:, :]).mean() + (horizontal.abs() * weight[..., 1:]).mean()
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    absolute, squared = (difference.abs() * weight).mean(), (difference**2 * weight).mean()
    return absolute + settings.squared * squared + settings.gradient * gradient + settings.kl * kl


@torch.no_grad()
def standardise(vae: Any, latents: torch.Tensor) -> None:
    """Rescales the autoencoder so that its latents have deviation 1 in every channel; pictures stay the same.

    The scale is folded into the neighbouring convolutions. Means are left alone: a shift could not be
    folded into a convolution with zero padding. latents (N, C, h, w): posterior modes of many pictures.
    """
    spread = latents.std((0, 2, 3))
    channels = len(spread)
    quant, decode = vae.quant_conv, vae.decoder.conv_in
    quant.weight[:channels] /= spread.view(-1, 1, 1, 1)
    quant.bias[:channels] /= spread
    quant.bias[channels:] -= 2 * spread.log()
    decode.weight *= spread.view(1, -1, 1, 1)


@torch.no_grad()
def reconstruct(vae: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Decoded posterior modes of pictures in [-1, 1]."""
    parts = [vae.decode(vae.encode(part).latent_dist.mode()).sample for part in pictures.split(32)]
    return torch.cat(parts)


def evaluate(vae: Any, world: World, out: Path) -> dict[str, float]:
    """Held-out PSNR of frames and foreground, photos and flat renders; writes a picture."""
    _, frames = world.held_out(1)
    photo, coarse, mask = to_signed(frames.photo[:, 0]), to_signed(frames.coarse[:, 0]), frames.mask[:, 0]
    again, flat = reconstruct(vae, photo), reconstruct(vae, coarse)
    save_grid(
        torch.cat([photo[:6], again[:6], photo[6:12], again[6:12], coarse[:6], flat[:6]]), 6, out / "vae.png"
    )
    inside = mask > 0.5
    return {
        "psnr": psnr(again, photo),
        "psnr_fg": psnr(again, photo, inside),
        "psnr_coarse": psnr(flat, coarse),
        "psnr_coarse_fg": psnr(flat, coarse, inside),
    }


def train_vae(settings: VaeSettings, run: Run) -> dict[str, float]:
    """Trains the image autoencoder and writes vae.safetensors.

    run.weights: continues from its vae.safetensors if there is one. Returns the held-out scores.
    """
    vae = image_vae().to(run.device)
    if (run.weights / "vae.safetensors").is_file():
        load_half(vae, run.weights / "vae.safetensors")
    vae.to(memory_format=torch.channels_last)
    world = World(settings.world, run.device, run.checkpoint)
    pool = PicturePool(world, settings, run.stream)
    loss: Callable[..., torch.Tensor] = (
        torch.compile(vae_loss, dynamic=False) if run.device.type == "cuda" else vae_loss
    )
    shape = (
        settings.loop.batch,
        vae.config.latent_channels,
        settings.world.height // 8,
        settings.world.width // 8,
    )

    def draw() -> tuple[torch.Tensor, ...]:
        noise = torch.randn(shape, generator=pool.generator, device=run.device)
        return *pool.batch(settings.loop.batch), noise

    parameters = list(vae.parameters())
    gradients = plain(lambda *batch: loss(vae, *batch, settings), draw, parameters, run.device)
    outcome = optimise(settings.loop, parameters, gradients, run, "vae", [pool.generator])
    vae.eval()
    with torch.no_grad():
        pictures = to_signed(pool.pictures[: settings.world.held_out * 8])
        before = evaluate(vae, world, run.out)
        latents = torch.cat([vae.encode(part).latent_dist.mode() for part in pictures.split(64)])
        standardise(vae, latents)
    save_half(vae, run.out / "vae.safetensors")
    scores = evaluate(vae, world, run.out)
    log.info("vae: before standardising %s", before)
    return {**scores, "steps": outcome.steps, "samples": outcome.samples, "seconds": outcome.seconds}
