"""The autoencoder's decoder alone: the latents stay what they are, the pictures made of them get sharper.

The loss is the score that is judged, the logarithm of the squared error of frame and object, so that every
picture counts alike and constant factors of the error do.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import torch
from torch import nn

from i2v3d.toy.architectures import image_vae
from miniature.data import World, to_signed
from miniature.gradients import captured
from miniature.image import encode_pool
from miniature.loop import Run, load_half, optimise, save_half
from miniature.settings import VaeDecoderSettings
from miniature.vae import PicturePool, evaluate

log = logging.getLogger(__name__)

QUIET = 1e-5
"""Added to squared errors before the logarithm: errors below 56 dB do not count."""


class Decoded(NamedTuple):
    """N pictures to be decoded. latents (N, C, h, w), picture (N, 3, H, W) uint8, mask (N, 1, H, W) uint8,
    noise (N, C, h, w) that is added to the latents."""

    latents: torch.Tensor
    picture: torch.Tensor
    mask: torch.Tensor
    noise: torch.Tensor


class DecoderPool:
    """Rendered pictures, half of them mirrored, and their latents, on the device."""

    def __init__(self, vae: Any, pictures: PicturePool, settings: VaeDecoderSettings) -> None:
        self.generator, self.settings = pictures.generator, settings
        # In place and piece by piece: the pool may fill much of the device's memory.
        self.pictures, self.masks = pictures.pictures, pictures.masks
        for part, mask in zip(self.pictures.split(1024), self.masks.split(1024), strict=True):
            mirror = torch.rand(len(part), generator=self.generator, device=part.device) < 0.5
            for tensor in (part, mask):
                tensor.copy_(torch.where(mirror.view(-1, 1, 1, 1), tensor.flip(-1), tensor))
        self.latents = encode_pool(vae, self.pictures)

    def batch(self) -> Decoded:
        """Pictures drawn from the pool, the latents with a little noise."""
        device, count = self.pictures.device, self.settings.loop.batch
        index = torch.randint(len(self.pictures), (count,), generator=self.generator, device=device)
        latents = self.latents[index].float()
        level = self.settings.noise * torch.rand(count, 1, 1, 1, generator=self.generator, device=device)
        noise = torch.randn(latents.shape, generator=self.generator, device=device) * level
        return Decoded(latents, self.pictures[index], self.masks[index], noise)


def unevenness(error: torch.Tensor, window: int) -> torch.Tensor:
    """How many times larger the error is than at the mirrored place, (1, 1, H, W), at least 1.

    error (N, 1, H, W): squared errors of pictures of which half are mirrored, so that both sides are equally
    hard and a ratio far from 1 is the decoder's own fault. window: side of the square it is averaged over.
    """
    mean = error.mean(0, keepdim=True)
    smooth = nn.functional.avg_pool2d(mean, window, stride=1, padding=window // 2, count_include_pad=False)
    return (smooth / smooth.flip(-1).clamp(min=1e-8)).clamp(min=1.0)


@torch.no_grad()
def measure_unevenness(vae: Any, pool: DecoderPool, count: int) -> torch.Tensor:
    """`unevenness` of a decoder on the first pictures of a pool."""
    errors = []
    for latents, picture in zip(pool.latents[:count].split(32), pool.pictures[:count].split(32), strict=True):
        errors.append(((vae.decoder(latents.float()) - to_signed(picture)) ** 2).mean(1, keepdim=True))
    return unevenness(torch.cat(errors), pool.settings.window)


def log_error(error: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean over pictures of the logarithm of the weighted mean of `error` (N, 3, H, W); weight (N, 1, H, W).

    Pictures with no weight anywhere add a constant.
    """
    total = (error * weight).sum((1, 2, 3)) / (error.shape[1] * weight.sum((1, 2, 3))).clamp(min=1.0)
    return torch.log(total + QUIET).mean()


def decoder_loss(
    decoded: torch.Tensor,
    picture: torch.Tensor,
    mask: torch.Tensor,
    place: torch.Tensor,
    foreground: float,
    gradient_weight: float,
) -> torch.Tensor:
    """Logarithms of the squared errors of frame, object and neighbouring pixels' differences.

    decoded, picture (N, 3, H, W) in [-1, 1]; mask (N, 1, H, W) in [0, 1]. place (1, 1, H, W): weight of every place of
    a frame, mean 1. foreground, gradient_weight: of the other two beside the frame's.
    """
    difference = decoded - picture
    squared = difference**2 * place
    # The weight reaches a little beyond the silhouette: edges are where the object smears.
    near = nn.functional.max_pool2d(mask, 5, stride=1, padding=2)
    weight = 1 + foreground * near
    rows, columns = difference.diff(dim=-2) ** 2, difference.diff(dim=-1) ** 2
    gradient = log_error(rows, weight[..., 1:, :]) + log_error(columns, weight[..., 1:])
    frame, inside = log_error(squared, torch.ones_like(mask)), log_error(squared, mask)
    return frame + foreground * inside + gradient_weight * gradient / 2


def train_vae_decoder(settings: VaeDecoderSettings, run: Run) -> dict[str, float]:
    """Fine-tunes the decoder and writes vae.safetensors, with every other weight bit for bit as it was.

    run.weights must hold vae.safetensors. Returns the held-out scores, those before it as `before_*`, and
    the largest `unevenness` before and after. A temporal decoder has to be copied from the new one again
    (`miniature assemble` does).
    """
    vae = image_vae()
    load_half(vae, run.weights / "vae.safetensors")
    vae.to(run.device, memory_format=torch.channels_last).eval().requires_grad_(False)
    vae.decoder.requires_grad_(True)
    world = World(settings.world, run.device, run.checkpoint)
    before = evaluate(vae, world, run.out)
    log.info("vae_decoder: before %s", before)
    pool = DecoderPool(vae, PicturePool(world, settings, run.stream), settings)
    uneven = measure_unevenness(vae, pool, settings.measured)
    place = 1 + settings.uneven * (uneven - 1).clamp(max=settings.uneven_cap - 1)
    place = place / place.mean()

    def loss(*batch: torch.Tensor) -> torch.Tensor:
        given = Decoded(*batch)
        decoded = vae.decoder(given.latents + given.noise).float()
        picture, mask = to_signed(given.picture), given.mask.float() / 255
        return decoder_loss(decoded, picture, mask, place, settings.foreground, settings.gradient)

    parameters = list(vae.decoder.parameters())
    gradients = captured(loss, pool.batch, parameters, run.device)
    outcome = optimise(settings.loop, parameters, gradients, run, "vae_decoder", [pool.generator])
    save_half(vae, run.out / "vae.safetensors")
    return {
        **evaluate(vae, world, run.out),
        **{f"before_{name}": value for name, value in before.items()},
        "uneven": float(measure_unevenness(vae, pool, settings.measured).max()),
        "before_uneven": float(uneven.max()),
        "steps": outcome.steps,
        "samples": outcome.samples,
        "seconds": outcome.seconds,
    }
