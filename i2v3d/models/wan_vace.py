"""Wan VACE: its text encoder, its VAE, and its transformer as a network that fills in a control clip.

Channels, strides, mean and deviation of latents come from the networks' own configurations.
Shapes: B clips, F frames, T latent frames, C latent channels, (h, w) latent size, (H, W) pixels, (L, D) text.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import ftfy
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoTokenizer, UMT5EncoderModel

from i2v3d.config.models import TextEncoderConfig
from i2v3d.config.weights import WeightsRef
from i2v3d.errors import WeightsError
from i2v3d.models.tiled_decoding import decode_in_tiles, tileable
from i2v3d.models.weights import load_network, missing, resolve

TILES = (2, 2)  # along height and width, where memory is short


# ---------------------------------------------------------------- text
@torch.no_grad()
def embed_texts(cfg: TextEncoderConfig, texts: Sequence[str], device: str) -> Tensor:
    """Embeddings (N, L, D) float32 of N prompts, padded or cut to L tokens and zero after the last one.

    Raises WeightsError if encoder or tokenizer are missing or broken.
    """
    encoder = load_network(UMT5EncoderModel, cfg.base, "text_encoder", device, getattr(torch, cfg.dtype))
    folder = resolve(cfg.base) / "tokenizer"
    if not folder.is_dir():
        raise missing(cfg.base, "tokenizer")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder} holds no tokenizer ({error}); fetch or copy it again") from error
    tokens = tokenizer(
        [cleaned(text) for text in texts],
        padding="max_length",
        max_length=cfg.max_tokens,
        truncation=True,
        return_tensors="pt",
    ).to(device)
    found: Tensor = encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
    return found.float() * tokens.attention_mask[..., None]


def cleaned(text: str) -> str:
    """A prompt as Wan was trained on: broken Unicode and HTML mended, spaces single."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


# ---------------------------------------------------------------- VAE
@dataclass(frozen=True)
class ClipAutoencoder:
    """Wan's VAE: clips of 4k+1 frames to normalised latents of k+1 and back, in float32."""

    vae: Any

    @staticmethod
    def load(base: WeightsRef, device: str) -> ClipAutoencoder:
        """Raises WeightsError if the weights are missing, corrupt, or of another architecture."""
        return ClipAutoencoder(load_network(AutoencoderKLWan, base, "vae", device, torch.float32))

    @property
    def stride(self) -> int:
        """Frames a latent, but for the first one, which is one frame."""
        return int(2 ** sum(self.vae.config.temperal_downsample))

    @property
    def factor(self) -> int:
        """Pixels a latent along either side."""
        return int(2 ** len(self.vae.config.temperal_downsample) * (self.vae.config.patch_size or 1))

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel, (C, 1, 1, 1)."""
        mean, std = (
            torch.tensor(self.vae.config[name]).to(latents)[:, None, None, None]
            for name in ("latents_mean", "latents_std")
        )
        return mean, std

    @torch.no_grad()
    def encode(self, clip: Tensor) -> Tensor:
        """Frames (F, 3, H, W) in [-1, 1] -> (C, T, h, w): the posterior's mode, normalised."""
        pixels = clip.to(self.vae.device, torch.float32).transpose(0, 1)
        latents = self.vae.encode(pixels[None]).latent_dist.mode()[0]
        mean, std = self._statistics(latents)
        return (latents - mean) * (1 / std)

    @torch.no_grad()
    def decode(self, latents: Tensor, *, in_tiles: bool = False) -> Tensor:
        """Latents (C, T, h, w) -> frames (F, 3, H, W) in [-1, 1] on the CPU. in_tiles: slower, with half the memory."""
        mean, std = self._statistics(latents)
        scaled = (latents / (1 / std) + mean).to(self.vae.device)
        if in_tiles and tileable(self.vae):
            return decode_in_tiles(self.vae, scaled, TILES)
        pixels = self.vae.decode(scaled[None], return_dict=False)[0]
        return pixels[0].transpose(0, 1).float().clamp(-1, 1).cpu()


# ---------------------------------------------------------------- conditions
def control_latents(
    autoencoder: ClipAutoencoder, video: Tensor, mask: Tensor, reference: Tensor | None
) -> Tensor:
    """What the control branch reads, (2 C + factor², T, h, w); a reference comes first and adds a latent frame.

    video: (F, 3, H, W) in [-1, 1]; mask: (F, 1, H, W), 1 generates; reference: (3, H, W). The channels: latents of the
    video where it is kept, latents of the rest, each with the other filled grey, and the mask, folded. Source: VACE,
    section on the context embedder.
    """
    kept, made = autoencoder.encode(video * (1 - mask)), autoencoder.encode(video * mask)
    control = torch.cat([kept, made, folded_mask(mask, autoencoder.factor, autoencoder.stride).to(kept)])
    if reference is None:
        return control
    photo = autoencoder.encode(reference[None])
    rest = photo.new_zeros(len(control) - len(photo), *photo.shape[1:])
    return torch.cat([torch.cat([photo, rest]), control], dim=1)


def folded_mask(mask: Tensor, factor: int, stride: int) -> Tensor:
    """A mask (F, 1, H, W) as one channel a pixel of a latent, (factor², T, h, w), of the frame nearest to it."""
    folded = functional.pixel_unshuffle(mask, factor).transpose(0, 1)
    size = ((len(mask) + stride - 1) // stride, *folded.shape[2:])
    return functional.interpolate(folded[None], size=size, mode="nearest-exact")[0]


@dataclass(frozen=True)
class FillCondition:
    """What the transformer knows about B clips. text: (B, L, D); control: (B, 2 C + factor², T, h, w)."""

    text: Tensor
    control: Tensor

    def rows(self, index: Tensor | slice) -> FillCondition:
        """The conditions of some clips."""
        return FillCondition(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def join(parts: Sequence[FillCondition]) -> FillCondition:
        """The clips of several conditions, one after the other."""
        return FillCondition(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(FillCondition)))


# ---------------------------------------------------------------- transformer
@dataclass(frozen=True)
class FillNetwork:
    """The transformer with its control branch, a `Network` that predicts the velocity of clips (B, T, C, h, w).

    control_scale: strength of the control branch. The transformer runs in its own precision; latents are float32.
    """

    transformer: Any
    control_scale: float

    @property
    def layers(self) -> nn.Module:
        """The transformer."""
        transformer: nn.Module = self.transformer
        return transformer

    def __call__(self, x: Tensor, level: float, condition: FillCondition) -> Tensor:
        """The velocity at timestep `level`."""
        dtype = (
            self.transformer.patch_embedding.weight.dtype
        )  # which no quantised file and no storage type changes
        scale = x.new_full((len(self.transformer.config.vace_layers),), self.control_scale)
        velocity: Tensor = self.transformer(
            hidden_states=x.transpose(1, 2).to(dtype),
            timestep=x.new_full((len(x),), level),
            encoder_hidden_states=condition.text.to(dtype),
            control_hidden_states=condition.control.to(dtype),
            control_hidden_states_scale=scale.to(dtype),
            return_dict=False,
        )[0]
        return velocity.float().transpose(1, 2)

    def in_chunks(self, x: Tensor, level: float, condition: FillCondition, max_batch: int) -> Tensor:
        """The same, as many clips a call as have `max_batch` latent frames together, at least one; 0: all."""
        clips = max(1, max_batch // x.shape[1]) if max_batch else len(x)
        rows = [slice(first, first + clips) for first in range(0, len(x), clips)]
        return torch.cat([self(x[row], level, condition.rows(row)) for row in rows])
