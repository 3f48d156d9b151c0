"""The video decoder: the image decoder, and layers between its own that mix neighbouring frames, trained on clips.

What sampling leaves uneven from frame to frame can be evened out here; the latents stay what they are.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch

from i2v3d.toy.architectures import video_vae
from i2v3d.toy.family import TEMPORAL_DECODER, copy_image_decoder
from miniature.data import World, to_bytes, to_signed
from miniature.gradients import captured
from miniature.image import encode_pool, frozen_vae
from miniature.loop import Run, load_half, optimise, save_half
from miniature.scores import psnr, save_grid
from miniature.settings import TemporalDecoderSettings
from miniature.vae_decoder import decoder_loss, log_error

log = logging.getLogger(__name__)


class DecodedClips(NamedTuple):
    """B clips of F frames to be decoded. latents (B, F, C, h, w), picture (B, F, 3, H, W) uint8, mask
    (B, F, 1, H, W) uint8, noise (B, F, C, h, w) that is added to the latents."""

    latents: torch.Tensor
    picture: torch.Tensor
    mask: torch.Tensor
    noise: torch.Tensor


class ClipPool:
    """Rendered clips and their latents, on the device."""

    def __init__(self, vae: Any, world: World, settings: TemporalDecoderSettings, stream: int) -> None:
        self.generator, self.settings = torch.Generator(world.device).manual_seed(stream), settings
        pictures, masks = [], []
        for scenes, frames in world.pool(settings.frames, stream):
            flat = torch.rand(scenes.size, generator=self.generator, device=world.device) < settings.coarse
            picture = torch.where(flat.view(-1, 1, 1, 1, 1), frames.coarse, frames.photo)
            pictures.append(to_bytes(picture))
            masks.append(to_bytes(frames.mask))
        self.pictures, self.masks = torch.cat(pictures), torch.cat(masks)
        self.latents = encode_pool(vae, self.pictures.flatten(0, 1)).unflatten(0, self.pictures.shape[:2])

    def batch(self) -> DecodedClips:
        """Clips drawn from the pool, half of them backwards, the latents of every frame with noise of its own."""
        device, count = self.pictures.device, self.settings.loop.batch
        index = torch.randint(len(self.pictures), (count,), generator=self.generator, device=device)
        backwards = torch.rand(count, 1, 1, 1, 1, generator=self.generator, device=device) < 0.5
        latents, picture, mask = (
            torch.where(backwards, tensor[index].flip(1), tensor[index])
            for tensor in (self.latents, self.pictures, self.masks)
        )
        level = self.settings.noise * torch.rand(count, 1, 1, 1, 1, generator=self.generator, device=device)
        noise = torch.randn(latents.shape, generator=self.generator, device=device) * level
        return DecodedClips(latents.float(), picture, mask, noise)


def decode_clips(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Clips of latents (B, F, C, h, w) to pictures (B, F, 3, H, W) in [-1, 1], all frames of a clip at once."""
    clips, frames = latents.shape[:2]
    all_moving = torch.zeros(clips, frames, dtype=latents.dtype, device=latents.device)
    decoded: torch.Tensor = vae.decoder(latents.flatten(0, 1), all_moving, frames)
    return decoded.float().unflatten(0, (clips, frames))


def clip_loss(decoded: torch.Tensor, batch: DecodedClips, settings: TemporalDecoderSettings) -> torch.Tensor:
    """`decoder_loss` of the frames, and the logarithm of the squared error of how they change."""
    picture = to_signed(batch.picture)
    mask = batch.mask.flatten(0, 1).float() / 255
    each = decoder_loss(
        decoded.flatten(0, 1),
        picture.flatten(0, 1),
        mask,
        torch.ones_like(mask[:1]),
        settings.foreground,
        settings.gradient,
    )
    change = ((decoded - picture).diff(dim=1) ** 2).flatten(0, 1)
    return each + settings.change * log_error(change, torch.ones_like(change[:, :1]))


@torch.no_grad()
def evaluate(
    vaes: dict[str, Any],
    latents: torch.Tensor,
    truth: torch.Tensor,
    mask: torch.Tensor,
    noise: float,
    out: Path,
) -> dict[str, float]:
    """Scores of several decoders on held-out clips, as encoded and with noise on the latents; writes a picture.

    psnr, psnr_fg: of the frames and their objects; change: PSNR of the difference of neighbouring frames.
    """
    generator = torch.Generator().manual_seed(0)
    added = noise * torch.randn(latents.shape, generator=generator).to(latents)
    scores, rows = {}, [truth[:4, 0], truth[:4, -1]]
    for name, vae in vaes.items():
        for kind, given in (("", latents), ("_noisy", latents + added)):
            made = torch.cat([decode_clips(vae, part) for part in given.split(4)])
            inside = mask.flatten(0, 1) > 0.5
            flat = made.flatten(0, 1), truth.flatten(0, 1)
            scores[f"{name}psnr{kind}"] = psnr(*flat)
            scores[f"{name}psnr_fg{kind}"] = psnr(*flat, inside)
            changes = (clip.diff(dim=1).flatten(0, 1) / 2 for clip in (made, truth))
            scores[f"{name}change{kind}"] = psnr(*changes)
            rows += [made[:4, 0], made[:4, -1]]
    save_grid(torch.cat(rows), 4, out / "temporal_decoder.png")
    return scores


def train_temporal_decoder(settings: TemporalDecoderSettings, run: Run) -> dict[str, float]:
    """Trains the video autoencoder's decoder and writes vvae.safetensors; its encoder is the image's.

    run.weights must hold vae.safetensors; without vvae.safetensors there, the decoder starts as an exact copy of
    the image decoder. Returns held-out scores; `copy_*` are those of that copy.
    """
    image, vae, copied = frozen_vae(run), video_vae().to(run.device), video_vae().to(run.device)
    for network in (vae, copied):
        copy_image_decoder(image, network)
    if (run.weights / f"{TEMPORAL_DECODER}.safetensors").is_file():
        load_half(vae, run.weights / f"{TEMPORAL_DECODER}.safetensors")
    for network in (vae, copied):
        network.eval().requires_grad_(False)
    vae.decoder.requires_grad_(True)
    world = World(settings.world, run.device, run.checkpoint)
    pool = ClipPool(image, world, settings, run.stream)

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        batch = DecodedClips(*tensors)
        return clip_loss(decode_clips(vae, batch.latents + batch.noise), batch, settings)

    parameters = list(vae.decoder.parameters())
    gradients = captured(loss, pool.batch, parameters, run.device)
    outcome = optimise(settings.loop, parameters, gradients, run, "temporal_decoder", [pool.generator])
    save_half(vae, run.out / f"{TEMPORAL_DECODER}.safetensors")
    _, frames = world.held_out(settings.frames)
    truth = to_signed(to_bytes(frames.photo))
    latents = encode_pool(image, to_bytes(frames.photo).flatten(0, 1)).float().unflatten(0, truth.shape[:2])
    decoders = {"": vae, "copy_": copied}
    scores = evaluate(decoders, latents, truth, frames.mask, settings.noise, run.out)
    return {**scores, "steps": outcome.steps, "samples": outcome.samples, "seconds": outcome.seconds}
