"""The jobs that measure what the networks reach alone: declared as stages, but in no variant's graph."""

from __future__ import annotations

from i2v3d.config.evaluate import EstimatorsConfig
from i2v3d.config.interpolate import InterpolateConfig, InterpolationInversionConfig
from i2v3d.config.keyframes import KeyframesConfig
from i2v3d.config.models import ImageModelConfig, VideoModelConfig
from i2v3d.config.scene import ToySceneConfig
from i2v3d.stages.registry import Source, Stage

_ALL = (
    Stage(
        "probe_image",
        version=1,
        help="a held-out toy clip -> what the image networks reach on it without the rest of the method",
        entry="miniature.probe_image:probe_image",
        config_type="miniature.probe_image:ImageProbe",
        sections={
            "scene": Source("scene", ToySceneConfig),
            "models": Source("models.image", ImageModelConfig),
            "keyframes": Source("keyframes", KeyframesConfig, without=("inversion",)),
            "estimators": Source("evaluate.estimators", EstimatorsConfig),
        },
        weights=("models", "estimators"),
    ),
    Stage(
        "probe_video",
        version=3,
        help="a held-out toy clip -> its middle frames from its true end frames, by the video networks",
        entry="miniature.probe_video:probe_video",
        config_type="miniature.probe_video:VideoProbe",
        sections={
            "scene": Source("scene", ToySceneConfig),
            "models": Source("models.video", VideoModelConfig),
            "interpolate": Source("interpolate", InterpolateConfig, without=("inversion",)),
            "inversion": Source("interpolate.inversion", InterpolationInversionConfig),
        },
        weights=("models",),
    ),
)

PROBES: dict[str, Stage] = {stage.name: stage for stage in _ALL}
