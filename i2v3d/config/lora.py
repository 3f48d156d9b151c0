"""The type of the group `lora`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from i2v3d.config.bounds import Count, Guidance, Index, Positive, Scale, Side, Steps, Strength
from i2v3d.config.sections import section


@section
class LoraConfig:
    """LoRA customisation (I2V3D, image customisation with multi-view augmentation). lambda_views: weight of
    the multi-view term, 0 for the ablation without it. weights: a ready LoRA file instead of training.
    validation_*: how often a picture is drawn from the prompt, in how many steps, with which guidance."""

    weights: str | None
    prompt: str
    rank: Annotated[int, Field(ge=1, le=4096)]
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)]
    resolution: Side
    mirror: bool
    lambda_views: Scale
    steps: Count
    batch: Count
    learning_rate: Strength
    weight_decay: Scale
    clip_norm: Positive
    checkpoint_every: Count
    validation_every: Count
    validation_steps: Steps
    validation_guidance: Guidance
    seed: Index
