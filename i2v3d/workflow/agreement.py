"""Options that must agree with each other and with the networks: what a job would refuse after hours is told first."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from i2v3d.errors import ConfigError, LayerError, nearest
from i2v3d.models.manifest import Shapes, read_shapes
from i2v3d.models.needs import Need
from i2v3d.models.weights import resolve
from i2v3d.workflow.selection import needed_stages, select

# Stage -> (option of its inversion, the sampling's): a sampling goes on from its inversion, step by step.
EQUAL = {
    "keyframes": (("keyframes.inversion.steps", "keyframes.steps"),),
    "interpolate": tuple(
        (f"interpolate.inversion.{name}", f"interpolate.{name}")
        for name in ("steps", "control_scale", "depth_range", "solver")
    ),
}
# (stage, option): the light of the renders that it takes.
LIGHT = (
    ("assemble", "assemble.light"),
    ("keyframe_inversion", "keyframes.inversion.light"),
    ("keyframes", "keyframes.render_light"),
    ("interpolation_inversion", "interpolate.inversion.light"),
    ("interpolate", "interpolate.render_light"),
)
# Stage of the video model -> where its steps stand: EDM's inversion extrapolates from the two lowest noise levels.
TWO_STEPS = {
    "interpolation_inversion": "interpolate.inversion.steps",
    "interpolate": "interpolate.steps",
    "sdedit_video": "sdedit_video.steps",
}
# (stage, switches of which one must be on, option with patterns of layers, the weights that have them)
PATTERNS = (
    ("keyframes", ("injection", "extended_attention"), "models.image.layers.attention", "models.image.base"),
    ("keyframes", ("injection",), "models.image.layers.conv", "models.image.base"),
    ("interpolate", ("injection",), "models.video.layers.attention", "models.video.base"),
    ("interpolate", ("injection",), "models.video.layers.block", "models.video.base"),
)


def check_options(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for options of a composed configuration that contradict each other in a stage that runs."""
    names = {stage.name for stage in needed_stages(config)}
    if select(config, "keyframes.source") == "photo" and "keyframes" in names:
        shown = select(config, "assemble.frames")
        raise ConfigError(
            f"keyframes.source is photo, but what makes the frames ({shown}) needs keyframes at both ends; use "
            "models/video=wan_vace with infill.start=overlap, or with SVD keyframes.source=generated "
            "interpolate.conditioning=photo interpolate.direction=forward"
        )
    if select(config, "keyframes.source") == "truth" and "keyframes" in names:
        if (source := select(config, "scene.source")) != "toy":
            raise ConfigError(
                f"keyframes.source is truth, but nobody knows the true pictures of a scene from {source}; use "
                "scene=toy or keyframes.source=generated"
            )
        names -= {"keyframes"}  # they are taken over
    lengths = [select(config, f"{name}.segment_frames") for name in ("infill", "interpolate")]
    if "infill" in names and lengths[0] != lengths[1]:
        raise ConfigError(
            f"infill.segment_frames is {lengths[0]}, but the shot is cut into segments of {lengths[1]} frames "
            f"(interpolate.segment_frames); set models.segment_frames={lengths[0]}, which both follow"
        )
    for one, other in (pair for stage, pairs in EQUAL.items() if stage in names for pair in pairs):
        if select(config, one) != select(config, other):
            raise ConfigError(
                f"{one} is {select(config, one)}, but {other} is {select(config, other)}; the sampling goes on from "
                "the inversion, set both to the same"
            )
    rendered = select(config, "render.light")
    for option in (option for stage, option in LIGHT if stage in names):
        if (light := select(config, option)) not in ("flat", rendered):
            raise ConfigError(
                f"{option} is {light}, but render.light is {rendered}, so that nothing is lit so; set "
                f"render.light={light}, which all inversions follow"
            )
    for option in (option for stage, option in TWO_STEPS.items() if stage in names):
        if (steps := select(config, option)) < 2:
            raise ConfigError(f"{option} is {steps}; the video model needs at least 2")
    interval = select(config, "keyframes.cache_interval")
    if "keyframes" in names and interval > 1 and select(config, "runtime.perf") == "plain":
        raise ConfigError(
            f"keyframes.cache_interval is {interval}, but runtime.perf is plain; fast networks alone keep deep "
            "features, set runtime.perf=auto"
        )
    window, overlap = select(config, "keyframes.window"), select(config, "keyframes.overlap")
    if "keyframes" in names and overlap >= window:
        raise ConfigError(
            f"keyframes.overlap is {overlap} in windows of {window}; expected 0 to {window - 1}"
        )


def check_layers(config: Mapping[str, Any], needs: Sequence[Need]) -> None:
    """Compares names of layers in the configuration with the networks' parameters, of which the headers are read.

    needs: weights that are there and whole. Raises LayerError for a pattern, or a target of the LoRA, that matches
    nothing, WeightsError for a file that cannot be read.
    """
    stages = {stage.name for stage in needed_stages(config)}
    unets = {
        need.option: _unet(need)
        for need in needs
        if need.option in ("models.image.base", "models.video.base")
    }
    for stage, switches, option, base in PATTERNS:
        if stage in stages and base in unets and any(select(config, f"{stage}.{name}") for name in switches):
            modules = {module for name in unets[base] for module in _above(name)}
            for pattern in select(config, option):
                if not fnmatch.filter(modules, pattern):
                    raise LayerError(
                        f"{option} names '{pattern}', which is no layer of {select(config, base)['source']}"
                    )
    if "lora" in stages and select(config, "lora.weights") is None and "models.image.base" in unets:
        _check_targets(select(config, "lora.target_modules"), unets["models.image.base"])


def _check_targets(targets: Sequence[str], unet: Shapes) -> None:
    """Raises LayerError for a target that is the end of no linear layer's name."""
    linear = [
        name.removesuffix(".weight")
        for name, shape in unet.items()
        if name.endswith(".weight") and len(shape) == 2
    ]
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in linear):
            ends = {".".join(name.split(".")[-count:]) for name in linear for count in (1, 2, 3)}
            raise LayerError(
                f"lora.target_modules: no linear layer is called {target}; {nearest(target, ends)}"
            )


def _unet(need: Need) -> Shapes:
    """Parameter -> shape of a pipeline's UNet."""
    (part,) = (part for part in need.parts if part.folder == "unet")
    return read_shapes(need.ref, resolve(need.ref) / part.folder, part)


def _above(parameter: str) -> Iterator[str]:
    """The modules that a parameter lies in."""
    parts = parameter.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))
