"""The stages in order: what each is called, reads, is configured by and needs from the machine.

Bump a stage's `version` when its results change for the same configuration; finished results of the
old version are then left alone and made anew beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2v3d import config


@dataclass(frozen=True)
class Source:
    """Where a field of a stage's configuration comes from. path: dotted, in the composed configuration.

    section: the type that validates it (None: a plain value). without: keys that belong to other stages.
    """

    path: str
    section: type | None
    without: tuple[str, ...] = ()

    def cut(self, value: Any) -> Any:
        """The section's own keys of what stands at `path`."""
        return {k: v for k, v in value.items() if k not in self.without} if self.without else value


@dataclass(frozen=True)
class Stage:
    """One node of the graph. entry and config_type: 'module:name', imported only by the job itself.

    files: dotted paths of options that name a file, where a scene has them. weights: of sections that hold
    weight references. per_segment: one job for every pair of neighbouring keyframes.
    """

    name: str
    version: int
    help: str
    entry: str
    config_type: str
    sections: Mapping[str, Source]
    needs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    per_segment: bool = False

    def named_files(self, cut: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """(path, option) of every file or local folder whose contents the stage's results depend on.

        Weights of a repository are identified by its id and revision in the configuration instead.
        """
        for option in self.files:
            section, _, name = option.rpartition(".")
            value = (_get(cut, section) if section else cut).get(name)
            if value is not None:
                yield value, option
        for option in self.weights:
            for name, reference in _get(cut, option).items():
                if (
                    isinstance(reference, Mapping)
                    and "source" in reference
                    and Path(reference["source"]).exists()
                ):
                    yield reference["source"], f"{option}.{name}.source"


def _get(cut: Mapping[str, Any], option: str) -> Any:
    value: Any = cut
    for part in option.split("."):
        value = value[part]
    return value


_IMAGE = Source("models.image", config.ImageModelConfig)
_VIDEO = Source("models.video", config.VideoModelConfig)
_SEGMENT_FRAMES = Source("interpolate.segment_frames", None)

_ALL = (
    Stage(
        "scene",
        version=1,
        help="photo or toy clip -> mask, background plate, meshes, animation: scene.json and scene.blend",
        entry="i2v3d.stages.scene:build_scene",
        config_type="i2v3d.config:SceneConfig",
        sections={"": Source("scene", config.SceneConfig)},
        files=("photo", "mask"),
    ),
    Stage(
        "render",
        version=1,
        help="scene -> coarse RGB, depth, masks, optical flow and cameras of every frame",
        entry="i2v3d.stages.render:render_passes",
        config_type="i2v3d.config:RenderConfig",
        sections={"": Source("render", config.RenderConfig)},
        needs=("scene",),
    ),
    Stage(
        "views",
        version=1,
        help="scene -> multi-view renders of the foreground with masks, for the LoRA",
        entry="i2v3d.stages.views:render_views",
        config_type="i2v3d.config:ViewsConfig",
        sections={"": Source("views", config.ViewsConfig)},
        needs=("scene",),
    ),
    Stage(
        "lora",
        version=1,
        help="photo and views -> LoRA weights of the image model",
        entry="i2v3d.stages.lora:train_lora",
        config_type="i2v3d.stages.lora:LoraStage",
        sections={"models": _IMAGE, "lora": Source("lora", config.LoraConfig)},
        needs=("scene", "views"),
        files=("lora.weights",),
        weights=("models",),
    ),
    Stage(
        "keyframe_inversion",
        version=1,
        help="coarse keyframes -> their DDIM inversion",
        entry="i2v3d.stages.keyframe_inversion:invert_keyframes",
        config_type="i2v3d.stages.keyframe_inversion:KeyframeInversionStage",
        sections={
            "models": _IMAGE,
            "inversion": Source("keyframes.inversion", config.KeyframeInversionConfig),
            "segment_frames": _SEGMENT_FRAMES,
        },
        needs=("render", "lora"),
        weights=("models",),
    ),
    Stage(
        "keyframes",
        version=1,
        help="inverted keyframes -> photo-like keyframes under 3D guidance",
        entry="i2v3d.stages.keyframes:generate_keyframes",
        config_type="i2v3d.stages.keyframes:KeyframesStage",
        sections={
            "models": _IMAGE,
            "keyframes": Source("keyframes", config.KeyframesConfig, without=("inversion",)),
            "segment_frames": _SEGMENT_FRAMES,
        },
        needs=("render", "lora", "keyframe_inversion"),
        weights=("models",),
    ),
    Stage(
        "interpolation_inversion",
        version=1,
        help="a segment's coarse clip -> its EDM inversion, forward and reversed",
        entry="i2v3d.stages.interpolation_inversion:invert_segment",
        config_type="i2v3d.stages.interpolation_inversion:InterpolationInversionStage",
        sections={
            "models": _VIDEO,
            "inversion": Source("interpolate.inversion", config.InterpolationInversionConfig),
            "segment_frames": _SEGMENT_FRAMES,
        },
        needs=("render",),
        weights=("models",),
        per_segment=True,
    ),
    Stage(
        "interpolate",
        version=1,
        help="two keyframes and the coarse clip between them -> all frames of the segment",
        entry="i2v3d.stages.interpolate:interpolate_segment",
        config_type="i2v3d.stages.interpolate:InterpolateStage",
        sections={
            "models": _VIDEO,
            "interpolate": Source("interpolate", config.InterpolateConfig, without=("inversion",)),
        },
        needs=("render", "keyframes", "interpolation_inversion"),
        weights=("models",),
        per_segment=True,
    ),
    Stage(
        "assemble",
        version=1,
        help="segments -> the video, the coarse one, both side by side, and a contact sheet",
        entry="i2v3d.stages.assemble:assemble_video",
        config_type="i2v3d.config:AssembleConfig",
        sections={"": Source("assemble", config.AssembleConfig)},
        needs=("scene", "render", "keyframes", "interpolate"),
    ),
)

STAGES: dict[str, Stage] = {stage.name: stage for stage in _ALL}
