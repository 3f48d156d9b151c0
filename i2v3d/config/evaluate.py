"""The types of the group `evaluate`."""

from __future__ import annotations

from i2v3d.config.bounds import Positive
from i2v3d.config.sections import section
from i2v3d.config.weights import WeightsRef


@section
class EstimatorsConfig:
    """Networks that judge pictures; those whose weights are missing are left out, and so are their scores.

    toy: of toy scenes, all in one. Of other scenes: depth and mask. Of all: clip, dino and lpips.
    """

    toy: WeightsRef
    depth: WeightsRef
    mask: WeightsRef
    clip: WeightsRef
    dino: WeightsRef
    lpips: WeightsRef


@section
class EvaluateConfig:
    """Scores of a video. far_m: rendered depth beyond it does not count in the depth error, metres."""

    far_m: Positive
    estimators: EstimatorsConfig
