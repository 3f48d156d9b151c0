"""Seeded noise that depends on what it is for, never on how work is batched."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, stage: str, item: int | str) -> torch.Generator:
    """A CPU generator for one (seed, stage, item), e.g. (7, "keyframes", frame 16).

    The three are hashed, so neighbouring items are independent and drawing one never shifts another.
    """
    digest = hashlib.sha256(f"{seed}/{stage}/{item}".encode()).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def noise(shape: tuple[int, ...], seed: int, stage: str, item: int | str) -> torch.Tensor:
    """Standard normal float32 noise on the CPU, shape `shape`, for one (seed, stage, item).

    Drawn on the CPU so that every device starts from the same numbers; move it afterwards.
    """
    return torch.randn(shape, generator=generator(seed, stage, item), dtype=torch.float32)


def frame_noise(frames: list[int], shape: tuple[int, ...], seed: int, stage: str) -> torch.Tensor:
    """Noise for several frames, (len(frames), *shape): row i depends on frame number frames[i] only."""
    return torch.stack([noise(shape, seed, stage, frame) for frame in frames])
