"""The stages in order: what each is called, reads, is configured by and needs from the machine.

Bump a stage's `version` when its results change for the same configuration; finished results of the
old version are then left alone and made anew beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, get_args, get_type_hints

from i2v3d.config.interpolate import AssembleConfig, FramesOf
from i2v3d.config.render import RenderConfig, ViewsConfig
from i2v3d.config.scene import SceneConfig
from i2v3d.config.stages import (
    CrossFadeStage,
    EvaluateStage,
    InfillStage,
    InterpolateStage,
    InterpolationInversionStage,
    KeyframeInversionStage,
    KeyframesStage,
    LoraStage,
    SDEditImageStage,
    SDEditVideoStage,
    Source,
    TextStage,
)


@dataclass(frozen=True)
class Machine:
    """What one job of a stage asks for. threads: of the CPU; gpus: cards; minutes: of time; memory_mb: of memory,
    None for what the models need (runtime.memory_mb)."""

    threads: int
    minutes: int
    memory_mb: int | None
    gpus: int = 0


NETWORKS = partial(Machine, threads=4, memory_mb=None, gpus=1)


@dataclass(frozen=True)
class Stage:
    """One node of the graph. entry: 'module:name', imported only by the job itself. config: the type of its
    configuration, whose fields say where they come from (`i2v3d.config.stages`), unless `section` names the one section
    of the composed configuration that it is. machine: what a job needs. publishes: the files (patterns) in its folder
    that stand for its result.

    needs: stages that it always reads; choices: option (dotted, in its own configuration) -> value -> stages
    that it reads besides; also: stages that it reads where the variant runs them anyway. files: dotted paths
    of options that name a file (* stands for every entry of a list), weights: of sections that hold weight
    references; scenes may lack both. families: of video models that it can use, all if none are said.
    per_segment: one job for every pair of neighbouring keyframes.
    chained: option and values with which a segment also reads the segment before it, as 'previous'.
    """

    name: str
    version: int
    help: str
    entry: str
    config: type
    machine: Machine
    publishes: tuple[str, ...]
    section: str | None = None
    needs: tuple[str, ...] = ()
    choices: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    per_segment: bool = False
    chained: tuple[str, tuple[str, ...]] | None = None

    @cached_property
    def sources(self) -> dict[str, tuple[Source, type | None]]:
        """Option -> where it comes from, and the section type that validates it (None: a plain value).

        The single option '' stands for the whole configuration.
        """
        if self.section is not None:
            return {"": (Source(self.section), self.config)}
        found: dict[str, tuple[Source, type | None]] = {}
        for name, hint in get_type_hints(self.config, include_extras=True).items():
            for source in (said for said in getattr(hint, "__metadata__", ()) if isinstance(said, Source)):
                own = get_args(hint)[0]
                found[name] = (source, own if isinstance(own, type) and is_dataclass(own) else None)
        return found

    def reads(self, cut: Mapping[str, Any]) -> tuple[str, ...]:
        """The stages that a node with this configuration reads."""
        chosen = (stages[_get(cut, option)] for option, stages in self.choices.items())
        return tuple(dict.fromkeys([*self.needs, *chain.from_iterable(chosen)]))

    def can_read(self) -> frozenset[str]:
        """The stages that it reads under some configuration."""
        chosen = (names for stages in self.choices.values() for names in stages.values())
        return frozenset([*self.needs, *chain.from_iterable(chosen)])

    def is_chained(self, cut: Mapping[str, Any]) -> bool:
        """Whether a segment of a node with this configuration also reads the segment before it."""
        return self.chained is not None and _get(cut, self.chained[0]) in self.chained[1]

    def named_files(self, cut: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """(path, option) of every file or local folder whose contents the stage's results depend on.

        Textures and the like that a mesh refers to count as well. Weights of a repository are identified by
        its id and revision in the configuration instead.
        """
        for path, option in self.stated_files(cut):
            yield path, option
            if option.endswith(("mesh", "mesh.file")):
                yield from ((str(file), option) for file in _companions(path, cut["max_faces"]))

    def stated_files(self, cut: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """(path, option) of what the configuration itself names; nothing is read."""
        for option in self.files:
            yield from _files(cut, option.split("."), "")
        for option in self.weights:
            for name, reference in (_get(cut, option) or {}).items():
                if (
                    isinstance(reference, Mapping)
                    and "source" in reference
                    and Path(reference["source"]).exists()
                ):
                    yield reference["source"], f"{option}.{name}.source"


def _companions(mesh: str, max_faces: int) -> tuple[Path, ...]:
    """Textures, material libraries and buffers that a mesh refers to. Raises InputError for a broken mesh."""
    from i2v3d.scene.mesh_files import check_mesh

    return check_mesh(Path(mesh), max_faces).companions


def _files(value: Any, parts: Sequence[str], option: str) -> Iterator[tuple[str, str]]:
    """(path, option) of what `parts` lead to, where it is there and not None."""
    if not parts:
        if value is not None:
            yield value, option
    elif parts[0] == "*":
        for number, entry in enumerate(value or ()):
            yield from _files(entry, parts[1:], f"{option}[{number}]")
    elif isinstance(value, Mapping) and parts[0] in value:
        yield from _files(value[parts[0]], parts[1:], f"{option}.{parts[0]}".lstrip("."))


def _get(cut: Mapping[str, Any], option: str) -> Any:
    """What stands at a dotted path; None if nothing does."""
    value: Any = cut
    for part in option.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


_ALL = (
    Stage(
        "scene",
        version=2,
        help="photo or toy clip -> mask, background plate, meshes, animation: scene.json and scene.blend",
        entry="i2v3d.stages.scene:build_scene",
        config=SceneConfig,
        machine=Machine(threads=2, minutes=30, memory_mb=4000),
        publishes=("photo.png", "scene.json"),
        section="scene",
        files=(
            "photo",
            "mask",
            "blend",
            "foreground.mesh.file",
            "background.depth.file",
            "background.views.folder",
            "background.views.cameras",
            "background.mesh.file",
            "background.mesh.cameras",
            "camera.track.file",
            "objects.*.mesh",
        ),
        weights=("segment", "inpaint.model", "background.depth"),
    ),
    Stage(
        "render",
        version=2,
        help="scene -> coarse RGB, depth, masks, optical flow and cameras of every frame",
        entry="i2v3d.stages.render:render_passes",
        config=RenderConfig,
        machine=Machine(threads=4, minutes=120, memory_mb=6000),
        publishes=("cameras.json",),
        files=("folder",),
        section="render",
        needs=("scene",),
    ),
    Stage(
        "views",
        version=1,
        help="scene -> multi-view renders of the foreground with masks, for the LoRA",
        entry="i2v3d.stages.views:render_views",
        config=ViewsConfig,
        machine=Machine(threads=4, minutes=60, memory_mb=6000),
        publishes=("cameras.json",),
        section="views",
        needs=("scene",),
    ),
    Stage(
        "lora",
        version=1,
        help="photo and views -> LoRA weights of the image model",
        entry="i2v3d.stages.lora:train_lora",
        config=LoraStage,
        machine=NETWORKS(minutes=120),
        publishes=("pytorch_lora_weights.safetensors",),
        needs=("scene", "views"),
        files=("lora.weights",),
        weights=("models",),
    ),
    Stage(
        "keyframe_inversion",
        version=2,
        help="coarse keyframes -> their DDIM inversion",
        entry="i2v3d.stages.keyframe_inversion:invert_keyframes",
        config=KeyframeInversionStage,
        machine=NETWORKS(minutes=120),
        publishes=("latents.safetensors",),
        needs=("render",),
        choices={"inversion.network": {"customised": ("lora",), "base": ()}},
        weights=("models",),
    ),
    Stage(
        "keyframes",
        version=2,
        help="inverted keyframes -> photo-like keyframes under 3D guidance",
        entry="i2v3d.stages.keyframes:generate_keyframes",
        config=KeyframesStage,
        machine=NETWORKS(minutes=240),
        publishes=("*.png",),
        needs=("render", "lora", "keyframe_inversion"),
        choices={"keyframes.first": {"generated": (), "photo": ("scene",)}},
        weights=("models",),
    ),
    Stage(
        "interpolation_inversion",
        version=1,
        help="a segment's coarse clip -> its EDM inversion, forward and reversed",
        entry="i2v3d.stages.interpolation_inversion:invert_segment",
        config=InterpolationInversionStage,
        machine=NETWORKS(minutes=120),
        publishes=("latents.safetensors",),
        needs=("render",),
        weights=("models",),
        families=("svd",),
        per_segment=True,
    ),
    Stage(
        "interpolate",
        version=2,
        help="two keyframes and the coarse clip between them -> all frames of the segment",
        entry="i2v3d.stages.interpolate:interpolate_segment",
        config=InterpolateStage,
        machine=NETWORKS(minutes=240),
        publishes=("*.png",),
        needs=("render", "interpolation_inversion"),
        choices={
            "interpolate.conditioning": {
                "keyframes": ("keyframes",),
                "chained": ("keyframes",),
                "photo": ("scene",),
            }
        },
        weights=("models",),
        families=("svd",),
        per_segment=True,
        chained=("interpolate.conditioning", ("chained", "photo")),
    ),
    Stage(
        "text",
        version=1,
        help="prompts -> their embeddings by the video model's text encoder",
        entry="i2v3d.stages.text:embed_prompts",
        config=TextStage,
        machine=NETWORKS(minutes=60),
        publishes=("prompts.safetensors",),
        weights=("models",),
        families=("wan_vace",),
    ),
    Stage(
        "infill",
        version=1,
        help="known frames and the render's control -> all frames of the segment, by a model that fills in",
        entry="i2v3d.stages.infill:fill_segment",
        config=InfillStage,
        machine=NETWORKS(minutes=240),
        publishes=("*.png",),
        needs=("scene", "render", "text"),
        choices={"infill.keyframes": {"generated": ("keyframes",), "photo": ()}},
        weights=("models",),
        families=("wan_vace",),
        per_segment=True,
        chained=("infill.start", ("previous", "overlap")),
    ),
    Stage(
        "cross_fade",
        version=1,
        help="keyframes -> all frames, each a blend of the keyframes around it (a baseline)",
        entry="i2v3d.stages.cross_fade:cross_fade",
        config=CrossFadeStage,
        machine=Machine(threads=1, minutes=10, memory_mb=1000),
        publishes=("*.png",),
        needs=("keyframes",),
    ),
    Stage(
        "sdedit_image",
        version=2,
        help="coarse renders -> the same frames refined one by one by the image model (a baseline)",
        entry="i2v3d.stages.sdedit_image:refine_frames",
        config=SDEditImageStage,
        machine=NETWORKS(minutes=240),
        publishes=("*.png",),
        needs=("render", "lora"),
        weights=("models",),
    ),
    Stage(
        "sdedit_video",
        version=1,
        help="coarse renders -> the same frames refined by the video model (a baseline)",
        entry="i2v3d.stages.sdedit_video:refine_clip",
        config=SDEditVideoStage,
        machine=NETWORKS(minutes=240),
        publishes=("*.png",),
        needs=("scene", "render"),
        weights=("models",),
        families=("svd",),
    ),
    Stage(
        "assemble",
        version=3,
        help="frames -> the video, the coarse one, both side by side, and a contact sheet",
        entry="i2v3d.stages.assemble:assemble_video",
        config=AssembleConfig,
        machine=Machine(threads=1, minutes=30, memory_mb=2000),
        publishes=("video.mp4",),
        section="assemble",
        needs=("scene", "render"),
        choices={"frames": {name: (name,) for name in get_args(FramesOf)}},
    ),
    Stage(
        "evaluate",
        version=5,
        help="the finished frames -> their scores, against the render's control and the truth where it is known",
        entry="i2v3d.stages.evaluate:evaluate_video",
        config=EvaluateStage,
        machine=Machine(threads=2, minutes=30, memory_mb=6000),
        publishes=("metrics.json", "metrics.csv"),
        needs=("scene", "render", "assemble"),
        also=("keyframes",),
        weights=("evaluate.estimators",),
    ),
)

STAGES: dict[str, Stage] = {stage.name: stage for stage in _ALL}
