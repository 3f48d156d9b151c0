"""The jobs that measure what the networks reach alone: declared as stages, but in no variant's graph."""

from __future__ import annotations

from typing import Annotated

from i2v3d.config.evaluate import EstimatorsConfig
from i2v3d.config.interpolate import InterpolateConfig, InterpolationInversionConfig
from i2v3d.config.keyframes import KeyframesConfig
from i2v3d.config.scene import ToySceneConfig
from i2v3d.config.sections import section
from i2v3d.config.stages import ImageModels, Source, VideoModels
from i2v3d.stages.stage import NETWORKS, Stage

ToyScene = Annotated[ToySceneConfig, Source("scene")]


@section
class ImageProbe:
    """What decides the result. keyframes: steps, guidance, prompts and seed of the pictures."""

    scene: ToyScene
    models: ImageModels
    keyframes: Annotated[KeyframesConfig, Source("keyframes", without=("inversion",))]
    estimators: Annotated[EstimatorsConfig, Source("evaluate.estimators")]


@section
class VideoProbe:
    """What decides the result; the clip is one segment long."""

    scene: ToyScene
    models: VideoModels
    interpolate: Annotated[InterpolateConfig, Source("interpolate", without=("inversion",))]
    inversion: Annotated[InterpolationInversionConfig, Source("interpolate.inversion")]


_ALL = (
    Stage(
        "probe_image",
        version=1,
        help="a held-out toy clip -> what the image networks reach on it without the rest of the method",
        entry="miniature.probe_image:probe_image",
        config=ImageProbe,
        machine=NETWORKS(minutes=60),
        publishes=("metrics.json",),
        weights=("models", "estimators"),
    ),
    Stage(
        "probe_video",
        version=4,
        help="a held-out toy clip -> its middle frames from its true end frames, by the video networks",
        entry="miniature.probe_video:probe_video",
        config=VideoProbe,
        machine=NETWORKS(minutes=60),
        publishes=("metrics.json",),
        weights=("models",),
    ),
)

PROBES: dict[str, Stage] = {stage.name: stage for stage in _ALL}
