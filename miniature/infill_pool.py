"""Control clips of rendered scenes as training data: what is known of each, encoded and kept on the device."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import torch

from i2v3d.guidance.control_clip import GENERATE, GREY, KEEP
from i2v3d.guidance.control_pictures import grey_pictures
from i2v3d.models.wan_vace import folded_mask
from i2v3d.toy.infill_family import FACTOR, MAX_TOKENS, STRIDE, infill_text_encoder, infill_tokenizer
from i2v3d.toy.world.render import Frames
from i2v3d.toy.world.sampling import Scenes
from miniature.data import World, control_condition, disparity, prompts, to_bytes, to_signed
from miniature.infill_vae import encode_clips
from miniature.loop import Run
from miniature.settings import InfillSettings


class ControlClips(NamedTuple):
    """B clips of F frames. truth (B, F, 3, H, W) in [-1, 1]; video of that shape: known pictures and control; mask
    (B, F, 1, H, W): 1 where frames are made; reference (B, 1, 3, H, W)."""

    truth: torch.Tensor
    video: torch.Tensor
    mask: torch.Tensor
    reference: torch.Tensor


class Filled(NamedTuple):
    """B clips for the transformer. latents (B, C, T, h, w), those of the reference first; control
    (B, 2 C + factor², T, h, w); text (B, L, D)."""

    latents: torch.Tensor
    control: torch.Tensor
    text: torch.Tensor


class Texts:
    """Prompts to states of the frozen text encoder."""

    def __init__(self, device: torch.device) -> None:
        self.encoder = infill_text_encoder().to(device).requires_grad_(False)
        self.tokenizer, self.device = infill_tokenizer(), device

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> torch.Tensor:
        """States (N, MAX_TOKENS, D), zero after the last token, as `embed_texts` of the models gives them."""
        tokens = self.tokenizer(
            texts, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
        ).to(self.device)
        states: torch.Tensor = self.encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        return states.float() * tokens.attention_mask[..., None]


class ControlPool:
    """Encoded control clips on the device."""

    def __init__(self, world: World, vae: Any, settings: InfillSettings, run: Run) -> None:
        self.settings, self.vae, self.texts = settings, vae, Texts(run.device)
        self.generator = torch.Generator(run.device).manual_seed(run.stream)
        rng = random.Random(run.stream)
        parts = [
            self._encoded(scenes, frames, rng)
            for scenes, frames in world.pool(settings.frames, run.stream)
            for _ in range(settings.rounds)
        ]
        self.clips = Filled(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def uniform(self, count: int) -> torch.Tensor:
        """Uniform numbers (count, 1, 1, 1, 1) in [0, 1)."""
        device = self.generator.device
        return torch.rand(count, 1, 1, 1, 1, generator=self.generator, device=device)

    def batch(self) -> tuple[torch.Tensor, ...]:
        """Latents, noise and its part in [0, 1] of each clip (B,), then control and text."""
        count, shift = self.settings.loop.batch, self.settings.shift
        index = (self.uniform(count).flatten() * len(self.clips.latents)).long()
        latents, control, text = (tensor[index] for tensor in self.clips)
        noise = torch.randn(latents.shape, generator=self.generator, device=latents.device)
        even = self.uniform(count).flatten()
        return latents.float(), noise, shift * even / (1 + (shift - 1) * even), control.float(), text.float()

    @torch.no_grad()
    def _encoded(self, scenes: Scenes, frames: Frames, rng: random.Random) -> Filled:
        """One control clip of every scene."""
        flat = self.uniform(scenes.size) < self.settings.coarse
        clips = self._drawn(frames, flat)
        text = self.texts(prompts(scenes, flat.flatten(), self.settings.prompt, rng.random))
        return filled(self.vae, clips, text)

    def _drawn(self, frames: Frames, flat: torch.Tensor) -> ControlClips:
        """What is known of every clip, drawn as the settings say; half are played backwards, half mirrored."""
        settings, count = self.settings, len(frames.photo)
        truth = to_signed(to_bytes(torch.where(flat, frames.coarse, frames.photo)))
        near = control_condition(disparity(frames.depth), settings.control, self.generator)
        kind = self.uniform(count)
        grey = grey_pictures(to_signed(to_bytes(frames.coarse)).flatten(0, 1)).view(truth.shape)
        control = torch.where(kind < settings.grey, grey, (2 * near - 1).expand_as(truth))
        control = torch.where(kind > 1 - settings.none, GREY, control)
        drawn = torch.cat([truth, control, frames.mask], dim=2)
        drawn = torch.where(self.uniform(count) < 0.5, drawn.flip(1), drawn)
        drawn = torch.where(self.uniform(count) < 0.5, drawn.flip(-1), drawn)
        truth, control, inside = drawn.split((3, 3, 1), dim=2)
        mask = self._mask(inside)
        video = torch.where(mask == KEEP, truth, control)
        at = (self.uniform(count).flatten() * truth.shape[1]).long()
        reference = truth[torch.arange(count, device=truth.device), at][:, None]
        return ControlClips(truth, video, mask, reference)

    def _mask(self, inside: torch.Tensor) -> torch.Tensor:
        """Which pixels of clips are made (1); inside: coverage of the object (B, F, 1, H, W)."""
        settings, count, frames = self.settings, len(inside), inside.shape[1]
        number = torch.arange(frames, device=inside.device).view(1, -1, 1, 1, 1)
        kind = self.uniform(count)
        first, overlap = kind < settings.first, kind > 1 - settings.overlap
        ending = (number == frames - 1) & ~first & (~overlap | (self.uniform(count) < 0.5))
        known = (number == 0) | ending | (number <= STRIDE) & overlap
        beside = (inside == 0) & (self.uniform(count) < settings.background)
        return torch.where(known | beside, KEEP, GENERATE)


@torch.no_grad()
def filled(vae: Any, clips: ControlClips, text: torch.Tensor) -> Filled:
    """Control clips as the transformer sees them, fp16; the channels are those of `wan_vace.control_latents`."""
    truth, photo, kept, made = (
        encode_clips(vae, pictures)
        for pictures in (
            clips.truth,
            clips.reference,
            clips.video * (1 - clips.mask),
            clips.video * clips.mask,
        )
    )
    folded = torch.stack([folded_mask(mask, FACTOR, STRIDE) for mask in clips.mask])
    control = torch.cat([kept, made, folded.to(kept)], dim=1)
    rest = photo.new_zeros(len(photo), control.shape[1] - photo.shape[1], *photo.shape[2:])
    control = torch.cat([torch.cat([photo, rest], dim=1), control], dim=2)
    return Filled(torch.cat([photo, truth], dim=2).half(), control.half(), text.half())
