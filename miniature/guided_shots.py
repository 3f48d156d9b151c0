"""Keyframes of many shots, and the image model as guidance runs it: what `miniature.guided_image` trains on."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import torch
from torch import Tensor

from i2v3d.diffusion.ddim import DDIM
from i2v3d.models.sdxl import take_depth_embedding
from i2v3d.toy.world.render import Frames
from i2v3d.toy.world.sampling import Scenes
from miniature.data import control_condition, disparity, prompts, to_bytes, to_signed, token_ids
from miniature.guided_settings import GuidedImageSettings
from miniature.image import ImageConditions, ImageModel, encode, predict_noise, read
from miniature.steering import Steering


class Shots(NamedTuple):
    """Keyframes of N shots, K each. photo, coarse (N, K, C, h, w): latents; depth (N, K, 1, H, W) in [0, 1], scaled by
    one range a shot; inverse_depth: the same unscaled; foreground (N, K, H, W) bool; noise (N, K, C, h, w): what the
    coarse latents are inverted to; full, loose, flat (N,): numbers of prompts, of the photo in full and in part, and of
    the coarse render."""

    photo: Tensor
    coarse: Tensor
    depth: Tensor
    inverse_depth: Tensor
    foreground: Tensor
    noise: Tensor
    full: Tensor
    loose: Tensor
    flat: Tensor

    def rows(self, index: Tensor | slice) -> Shots:
        """Some of the shots."""
        return Shots(*(tensor[index] for tensor in self))


class GuidedModel:
    """The image model with its depth embedding apart, and its steering. micro (1, 6): micro-conditioning."""

    def __init__(self, model: ImageModel, settings: GuidedImageSettings, device: torch.device) -> None:
        self.networks, self.steering = model, Steering(model.unet)
        self.embedding = take_depth_embedding(model.controlnet)
        size = settings.world.height, settings.world.width
        self.micro = torch.tensor([[*size, 0, 0, *size]], dtype=torch.float32, device=device)

    def parameters(self) -> list[torch.nn.Parameter]:
        """Those of UNet and ControlNet."""
        parts = self.networks.unet, self.networks.controlnet, self.embedding
        return [parameter for part in parts for parameter in part.parameters()]

    def features(self, depth: Tensor) -> Tensor:
        """What the ControlNet reads of depth (N, 1, H, W) in [0, 1]."""
        features: Tensor = self.embedding(depth.float().expand(-1, 3, -1, -1))
        return features

    def predict(
        self, x: Tensor, timestep: Tensor, features: Tensor, keep: Tensor, text: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Noise in x (N, C, h, w). text: states and pooled embedding, a row each."""
        given = ImageConditions(*text, features, keep, self.micro.expand(len(x), -1))
        return predict_noise(self.networks, x, timestep, given).float()

    def whole(self) -> ImageModel:
        """The networks as they were given."""
        self.networks.controlnet.controlnet_cond_embedding = self.embedding
        return self.networks


class Prompts:
    """Text states of many prompts, on the device. Number 0 is the empty one."""

    def __init__(self) -> None:
        self.texts = [""]

    def add(self, texts: list[str]) -> Tensor:
        """Their numbers."""
        first = len(self.texts)
        self.texts += texts
        return torch.arange(first, len(self.texts))

    @torch.no_grad()
    def encode(self, model: ImageModel, device: torch.device) -> None:
        """Reads them all."""
        parts = [
            [state.half() for state in read(model, ids)]
            for ids in token_ids(self.texts).to(device).split(2048)
        ]
        self.text, self.pooled = (torch.cat(column) for column in zip(*parts, strict=True))

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.text[index].float(), self.pooled[index].float()


def shots_of(
    scenes: Scenes,
    frames: Frames,
    vae: Any,
    book: Prompts,
    settings: GuidedImageSettings,
    generator: torch.Generator | None,
) -> Shots:
    """Encoded shots, without noise. generator: of the range of depth; None is the shot's own."""

    def latents(pictures: Tensor) -> Tensor:
        flat = to_signed(to_bytes(pictures)).flatten(0, 1)
        return encode(vae, flat).half().unflatten(0, pictures.shape[:2])

    rng = random.Random(len(book.texts))
    flat, lit = torch.ones(scenes.size, dtype=torch.bool), torch.zeros(scenes.size, dtype=torch.bool)
    inverse = disparity(frames.depth)
    scaled = control_condition(inverse, settings.control, None)
    if generator is not None:
        spread = settings.control.range - 1
        scaled = scaled / (
            1 + spread * torch.rand(len(scaled), 1, 1, 1, 1, generator=generator, device=scaled.device)
        )
    coarse = latents(frames.coarse)
    device = coarse.device
    numbers = (
        book.add(prompts(scenes, *row)).to(device)
        for row in (
            (lit, None, rng.random),
            (lit, settings.prompt, rng.random),
            (flat, settings.prompt, rng.random),
        )
    )
    return Shots(
        latents(frames.photo), coarse, scaled.half(), inverse, frames.mask[:, :, 0] > 0.5, coarse, *numbers
    )


@torch.no_grad()
def invert(model: GuidedModel, shots: Shots, book: Prompts, ddim: DDIM) -> Tensor:
    """The coarse latents of every noise level, (S, N, K, C, h, w), as the method inverts them."""
    count = shots.coarse.shape[:2]
    features = model.features(shots.depth.flatten(0, 1))
    empty = book[torch.zeros(len(features), dtype=torch.long, device=features.device)]
    keep = torch.ones(len(features), device=features.device)

    def predict(x: Tensor, level: float, step: int) -> Tensor:
        return model.predict(x, torch.full((len(x),), int(level), device=x.device), features, keep, empty)

    levels = ddim.invert(shots.coarse.flatten(0, 1).float(), predict)
    return torch.stack(levels).unflatten(1, count)


def noise_of(highest: Tensor, coarse: Tensor, ddim: DDIM) -> Tensor:
    """The noise in the highest level (..., C, h, w) of inverted coarse latents, on a straight path."""
    first, last = ddim.alpha_bar[0], ddim.alpha_bar[-1]
    part = (last / first) ** 0.5
    return (highest - part * coarse.float()) / ((1 - last) ** 0.5 - part * (1 - first) ** 0.5)


def behind(latents: Tensor, noise: Tensor, ddim: DDIM) -> Tensor:
    """What a straight path comes from that ends at `latents`: DDIM's lowest level has a little noise left."""
    first = ddim.alpha_bar[0]
    return (latents.float() - (1 - first) ** 0.5 * noise) / first**0.5
