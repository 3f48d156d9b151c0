"""Types of conf/training/guided_*.yaml. Nothing here has a default; unknown and missing keys are refused."""

from __future__ import annotations

from i2v3d.config.bounds import Count, Fraction, Index, NonNegative, Positive
from i2v3d.config.sections import section
from miniature.settings import AtLeastTwo, ControlSettings, LoopSettings, PromptSettings, WorldSettings


@section
class GuidedImageSettings:
    """The image model as the method uses it, see miniature/guided_image.py.

    frames: keyframes of a shot; paces: how many times as far everything moves over one as over a clip of the video
    model's, in turn; held_out_pace: of the shots that are measured; steps: of inversion and sampling; invert_batch:
    shots inverted at a time. inverting, plain: rows of a step beside the loop's `batch` shots, of the inversion and of
    single pictures with fresh noise; coarse: fraction of flat ones among the latter. snr: cap of the min-SNR loss
    weight; early: extra weight of high noise, least: lowest weight of an inverting row; foreground: extra weight of the
    object; source_weight: of the coarse renders' rows. known: chance that the first frame is the photo, known_weight:
    its own weight. stray, stray_chance: how far and how often latents lie off the path. loose: chance of an incomplete
    prompt. injection, shared: chances of injected features and of frames that see each other, whole: of these, the
    chance that they share the object, too; tau_background, tau_conv: fractions of the steps as in the method.
    """

    world: WorldSettings
    loop: LoopSettings
    prompt: PromptSettings
    control: ControlSettings
    fresh: bool
    frames: AtLeastTwo
    paces: tuple[Positive, ...]
    held_out_pace: Positive
    steps: AtLeastTwo
    invert_batch: Count
    inverting: Count
    plain: Count
    coarse: Fraction
    snr: Positive
    early: NonNegative
    least: NonNegative
    foreground: NonNegative
    source_weight: NonNegative
    known: Fraction
    known_weight: Fraction
    stray: NonNegative
    stray_chance: Fraction
    loose: Fraction
    injection: Fraction
    shared: Fraction
    whole: Fraction
    tau_background: Fraction
    tau_conv: Fraction


@section
class GuidedVideoSettings:
    """The video model as the method uses it, see miniature/guided_video.py. paces, held_out_pace, steps, invert_batch,
    stray, stray_chance, injection: as in `GuidedImageSettings`, of clips; plain: clips of a step beside the loop's
    `batch` pairs, with fresh noise; exact: chance of a noise level of sampling; the others as in `VideoSettings`."""

    world: WorldSettings
    loop: LoopSettings
    control: ControlSettings
    frames: AtLeastTwo
    paces: tuple[Positive, ...]
    held_out_pace: Positive
    steps: AtLeastTwo
    invert_batch: Count
    plain: Count
    coarse: Fraction
    sigma_mean: float
    sigma_std: Positive
    exact: Fraction
    drop: Fraction
    augmentation: NonNegative
    fps_id_low: Index
    fps_id_high: Index
    motion_bucket: Index
    stray: NonNegative
    stray_chance: Fraction
    injection: Fraction
    fresh: bool
