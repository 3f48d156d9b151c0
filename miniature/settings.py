"""Types of conf/training/*.yaml. Nothing here has a default; unknown and missing keys are refused.

Plain dataclasses rather than i2v3d.config, so that training runs where only PyTorch and diffusers are
installed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

import yaml

from i2v3d.errors import ConfigError, nearest

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """One optimisation: AdamW, a short warm-up, cosine decay over wall-clock time, weights averaged (EMA).

    seconds: when the loop ends, counted from the start of the run; max_steps ends it earlier.
    floor: final learning rate as a fraction of `rate`.
    """

    seconds: float
    max_steps: int
    batch: int
    rate: float
    floor: float
    warm_up: int
    weight_decay: float
    clip: float
    ema: float
    log_every: int


@dataclasses.dataclass(frozen=True)
class WorldSettings:
    """The data: seed of bank and scenes, pictures held on the device, most seconds to render them."""

    seed: int
    variants: int
    pool: int
    pool_seconds: float
    chunk: int
    samples: int
    held_out: int
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class VaeSettings:
    """Autoencoder. foreground: extra loss weight on the object; gradient, squared, kl: weights of loss terms;
    coarse, views: fractions of flat renders and of flat renders of the object on white."""

    world: WorldSettings
    loop: LoopSettings
    foreground: float
    gradient: float
    squared: float
    kl: float
    coarse: float
    views: float


@dataclasses.dataclass(frozen=True)
class VaeDecoderSettings:
    """Decoder of the autoencoder. foreground, gradient: weights of the object's and of the image gradients'
    error beside the frame's; noise: largest deviation of noise on the latents; coarse, views: as in
    `VaeSettings`; uneven: extra weight of places where the first decoder errs more than at the mirrored
    place, in multiples of the excess, which counts up to the ratio uneven_cap; window (pixels, odd), measured
    (pictures): how that is measured."""

    world: WorldSettings
    loop: LoopSettings
    foreground: float
    gradient: float
    noise: float
    coarse: float
    views: float
    uneven: float
    uneven_cap: float
    window: int
    measured: int

    def __post_init__(self) -> None:
        if self.window % 2 == 0:
            raise ConfigError(
                f"window must be odd to have a middle, got {self.window}; take {self.window + 1}"
            )


@dataclasses.dataclass(frozen=True)
class TemporalDecoderSettings:
    """Decoder of the video model's autoencoder. frames: of a clip; coarse: fraction of flat clips; foreground,
    gradient: as in `VaeDecoderSettings`; change: weight of the error of neighbouring frames' differences; noise:
    largest deviation of noise on the latents, another for every frame."""

    world: WorldSettings
    loop: LoopSettings
    frames: int
    coarse: float
    foreground: float
    gradient: float
    change: float
    noise: float


@dataclasses.dataclass(frozen=True)
class ClipSettings:
    """Contrastive pair of the image encoder and the second text encoder."""

    world: WorldSettings
    loop: LoopSettings
    temperature: float


@dataclasses.dataclass(frozen=True)
class PromptSettings:
    """Chances that a prompt is empty, names the subject only as 'sks', or lacks accents or surroundings."""

    empty: float
    subject: float
    no_parts: float
    no_place: float


@dataclasses.dataclass(frozen=True)
class ControlSettings:
    """Depth control. keep: chance that it is used; init: gain of the control convolutions' first weights;
    range: largest factor by which the shot's nearest point is nearer than this picture's; wall: chance of a
    far wall, and its nearest and farthest distance in metres."""

    keep: float
    init: float
    range: float
    wall: float
    wall_near_m: float
    wall_far_m: float


@dataclasses.dataclass(frozen=True)
class ImageSettings:
    """Image UNet, depth ControlNet and first text encoder. coarse: fraction of flat renders;
    snr: cap of the min-SNR loss weight; fresh: start from nothing, the ControlNet
    as a copy of the UNet's encoder; train_text: train both text encoders too."""

    world: WorldSettings
    loop: LoopSettings
    prompt: PromptSettings
    control: ControlSettings
    coarse: float
    snr: float
    fresh: bool
    train_text: bool
    steps: int
    guidance: float


@dataclasses.dataclass(frozen=True)
class VideoSettings:
    """Video UNet and temporal depth ControlNet. sigma_mean, sigma_std: log-normal noise levels;
    drop: chance of no image condition; augmentation: noise on the conditioning image; fps_id_low,
    fps_id_high, motion_bucket: SVD's added time ids, the frame rate drawn anew for every clip; coarse:
    fraction of flat clips."""

    world: WorldSettings
    loop: LoopSettings
    control: ControlSettings
    frames: int
    coarse: float
    sigma_mean: float
    sigma_std: float
    drop: float
    augmentation: float
    fps_id_low: int
    fps_id_high: int
    motion_bucket: int
    fresh: bool
    steps: int


@dataclasses.dataclass(frozen=True)
class EstimatorSettings:
    """Estimators of depth, mask and identity. clean: fraction of pictures that are not spoilt; coarse: of flat
    renders; decoded, latent_noise, blur_px, noise, blotches, tint: how the others are spoilt; elsewhere,
    turn_deg: how the second picture of a scene differs; far_m: farthest depth; foreground, edges, shape: of the
    depth loss; mask, identity: weights of these losses; temperature: of the contrastive one; gallery: objects
    among which the right one is to be found."""

    world: WorldSettings
    loop: LoopSettings
    clean: float
    coarse: float
    decoded: float
    latent_noise: float
    blur_px: float
    noise: float
    blotches: float
    tint: float
    elsewhere: float
    turn_deg: float
    far_m: float
    foreground: float
    edges: float
    shape: float
    mask: float
    identity: float
    temperature: float
    gallery: int

    def __post_init__(self) -> None:
        if self.gallery < 2 or self.world.held_out % self.gallery:
            raise ConfigError(
                f"world.held_out must be a multiple of gallery, at least 2, got {self.world.held_out} and "
                f"{self.gallery}; change one of them"
            )


def load(path: Path, kind: type[T]) -> T:
    """Reads one of the settings above. Raises ConfigError on unknown, missing or mistyped keys."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return _build(kind, content, str(path))


def _build(kind: type[T], content: Any, where: str) -> T:
    if not isinstance(content, dict):
        raise ConfigError(f"{where} must be a mapping for {kind.__name__}, got {type(content).__name__}")
    fields = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in content:
        if key not in fields:
            raise ConfigError(f"{where} has unknown key '{key}'; {nearest(key, fields)}")
    missing = sorted(set(fields) - set(content))
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}; add it")
    return kind(**{key: _value(str(fields[key]), content[key], f"{where}:{key}") for key in fields})


def _value(kind: str, value: Any, where: str) -> Any:
    nested = {cls.__name__: cls for cls in (LoopSettings, WorldSettings, PromptSettings, ControlSettings)}
    if kind in nested:
        return _build(nested[kind], value, where)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {"bool": isinstance(value, bool), "int": number and value == int(value), "float": number}[kind]
    if not fits:
        raise ConfigError(f"{where} must be {kind}, got {value!r}")
    return {"bool": bool, "int": int, "float": float}[kind](value)
