"""Types of conf/training/*.yaml. Nothing here has a default; unknown and missing keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import Field

from i2v3d.config.bounds import Count, Fraction, Index, NonNegative, Positive
from i2v3d.config.sections import build, section
from i2v3d.errors import ConfigError
from i2v3d.toy.world.render import Coarse

T = TypeVar("T")

AtLeastOne = Annotated[float, Field(ge=1)]
AtLeastTwo = Annotated[int, Field(ge=2)]


@section
class LoopSettings:
    """One optimisation: AdamW, a short warm-up, cosine decay over wall-clock time, weights averaged (EMA).

    seconds: when the loop ends, counted from the start of the run; max_steps ends it earlier.
    floor: final learning rate as a fraction of `rate`.
    """

    seconds: Positive
    max_steps: Count
    batch: Count
    rate: Positive
    floor: Fraction
    warm_up: Count
    weight_decay: NonNegative
    clip: Positive
    ema: Fraction
    log_every: Count


@section
class WorldSettings:
    """The data: seed of bank and scenes, pictures held on the device, most seconds to render them. coarse: whether
    coarse renders know no light, or all but one scene in six are lit as an estimate from a photo lights them."""

    seed: Index
    variants: Count
    pool: Index
    pool_seconds: NonNegative
    chunk: Count
    samples: Count
    held_out: Count
    width: Count
    height: Count
    coarse: Coarse


@section
class VaeSettings:
    """Autoencoder. foreground: extra loss weight on the object; gradient, squared, kl: weights of loss terms;
    coarse, views: fractions of flat renders and of flat renders of the object on white."""

    world: WorldSettings
    loop: LoopSettings
    foreground: NonNegative
    gradient: NonNegative
    squared: NonNegative
    kl: NonNegative
    coarse: Fraction
    views: Fraction


@section
class VaeDecoderSettings:
    """Decoder of the autoencoder. foreground, gradient: weights of the object's and of the image gradients'
    error beside the frame's; noise: largest deviation of noise on the latents; coarse, views: as in
    `VaeSettings`; uneven: extra weight of places where the first decoder errs more than at the mirrored
    place, in multiples of the excess, which counts up to the ratio uneven_cap; window (pixels, odd), measured
    (pictures): how that is measured."""

    world: WorldSettings
    loop: LoopSettings
    foreground: NonNegative
    gradient: NonNegative
    noise: NonNegative
    coarse: Fraction
    views: Fraction
    uneven: NonNegative
    uneven_cap: AtLeastOne
    window: Count
    measured: Count

    def __post_init__(self) -> None:
        if self.window % 2 == 0:
            raise ConfigError(
                f"window must be odd to have a middle, got {self.window}; take {self.window + 1}"
            )


@section
class TemporalDecoderSettings:
    """Decoder of the video model's autoencoder. frames: of a clip; coarse: fraction of flat clips; foreground,
    gradient: as in `VaeDecoderSettings`; change: weight of the error of neighbouring frames' differences; noise:
    largest deviation of noise on the latents, another for every frame."""

    world: WorldSettings
    loop: LoopSettings
    frames: AtLeastTwo
    coarse: Fraction
    foreground: NonNegative
    gradient: NonNegative
    change: NonNegative
    noise: NonNegative


@section
class ClipSettings:
    """Contrastive pair of the image encoder and the second text encoder."""

    world: WorldSettings
    loop: LoopSettings
    temperature: Positive


@section
class PromptSettings:
    """Chances that a prompt is empty, names the subject only as 'sks', or lacks accents or surroundings."""

    empty: Fraction
    subject: Fraction
    no_parts: Fraction
    no_place: Fraction


@section
class ControlSettings:
    """Depth control. keep: chance that it is used; init: gain of the control convolutions' first weights;
    range: largest factor by which the shot's nearest point is nearer than this picture's; wall: chance of a
    far wall, and its nearest and farthest distance in metres."""

    keep: Fraction
    init: NonNegative
    range: AtLeastOne
    wall: Fraction
    wall_near_m: Positive
    wall_far_m: Positive


@section
class ImageSettings:
    """Image UNet, depth ControlNet and first text encoder. coarse: fraction of flat renders;
    snr: cap of the min-SNR loss weight; fresh: start from nothing, the ControlNet
    as a copy of the UNet's encoder; train_text: train both text encoders too."""

    world: WorldSettings
    loop: LoopSettings
    prompt: PromptSettings
    control: ControlSettings
    coarse: Fraction
    snr: Positive
    fresh: bool
    train_text: bool
    steps: AtLeastTwo
    guidance: NonNegative


@section
class VideoSettings:
    """Video UNet and temporal depth ControlNet. sigma_mean, sigma_std: log-normal noise levels;
    drop: chance of no image condition; augmentation: noise on the conditioning image; fps_id_low,
    fps_id_high, motion_bucket: SVD's added time ids, the frame rate drawn anew for every clip; coarse:
    fraction of flat clips."""

    world: WorldSettings
    loop: LoopSettings
    control: ControlSettings
    frames: AtLeastTwo
    coarse: Fraction
    sigma_mean: float
    sigma_std: Positive
    drop: Fraction
    augmentation: NonNegative
    fps_id_low: Index
    fps_id_high: Index
    motion_bucket: Index
    fresh: bool
    steps: AtLeastTwo


@section
class InfillVaeSettings:
    """Autoencoder of clips, for the model that fills in. frames: of a clip, 4k+1; crop_width, crop_height: pixels of a
    clip that a step sees; coarse, control: fractions of flat clips and of clips of depth; masked: fraction of clips
    that are grey in a half or in most frames, as control clips are; foreground, gradient, squared, kl: weights of loss
    terms, as in `VaeSettings`."""

    world: WorldSettings
    loop: LoopSettings
    frames: AtLeastTwo
    crop_width: Count
    crop_height: Count
    coarse: Fraction
    control: Fraction
    masked: Fraction
    foreground: NonNegative
    gradient: NonNegative
    squared: NonNegative
    kl: NonNegative


@section
class InfillSettings:
    """Transformer that fills in clips. frames: of a clip, 4k+1; rounds: how many control clips are made of each;
    coarse: fraction of flat clips; first, overlap, background: fractions of clips of which the first frame alone, the
    first latent but one, or the pixels beside the object too are known, both ends of all others; grey, none: fractions
    of clips whose control is the coarse render's grey, or nothing, depth's in all others; shift: of the noise levels;
    steps: sampling steps of the clips that are measured."""

    world: WorldSettings
    loop: LoopSettings
    prompt: PromptSettings
    control: ControlSettings
    frames: AtLeastTwo
    rounds: Count
    coarse: Fraction
    first: Fraction
    overlap: Fraction
    background: Fraction
    grey: Fraction
    none: Fraction
    shift: Positive
    steps: AtLeastTwo


@section
class EstimatorSettings:
    """Estimators of depth, mask and identity. clean: fraction of pictures that are not spoilt; coarse: of flat
    renders; decoded, latent_noise, blur_px, noise, blotches, tint: how the others are spoilt; elsewhere,
    turn_deg: how the second picture of a scene differs; far_m: farthest depth; foreground, edges, shape: of the
    depth loss; mask, identity: weights of these losses; temperature: of the contrastive one; gallery: objects
    among which the right one is to be found."""

    world: WorldSettings
    loop: LoopSettings
    clean: Fraction
    coarse: Fraction
    decoded: Fraction
    latent_noise: NonNegative
    blur_px: NonNegative
    noise: NonNegative
    blotches: NonNegative
    tint: NonNegative
    elsewhere: Fraction
    turn_deg: NonNegative
    far_m: Positive
    foreground: NonNegative
    edges: NonNegative
    shape: NonNegative
    mask: NonNegative
    identity: NonNegative
    temperature: Positive
    gallery: AtLeastTwo

    def __post_init__(self) -> None:
        if self.world.held_out % self.gallery:
            raise ConfigError(
                f"world.held_out must be a multiple of gallery, got {self.world.held_out} and "
                f"{self.gallery}; change one of them"
            )


def load(path: Path, kind: type[T]) -> T:
    """Reads one of the settings above. Raises ConfigError for an unknown or missing key, or a wrong value."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} must map the keys of {kind.__name__} to values; see miniature/conf/training"
        )
    return build(kind, content, path.stem)
