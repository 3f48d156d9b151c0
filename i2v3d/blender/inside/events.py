"""What happens to an object besides its transform: actions of its file, shape keys, appearing and vanishing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import bpy

from i2v3d.artifacts.scene_spec import ObjectSpec, VisibilityKey
from i2v3d.blender.inside.importer import Imported
from i2v3d.errors import InputError, nearest


def play_actions(imported: Imported, spec: ObjectSpec, file: str, fps: float) -> None:
    """Puts the actions of an object on its timeline, as strips that later ones replace.

    An action keeps its duration in seconds whatever rate its file has; the first one's beginning is held
    before it, each one's end after it. Raises InputError for an action that the file lacks, with those it has.
    """
    for number, wanted in enumerate(spec.actions):
        if wanted.action not in imported.actions:
            has = ", ".join(repr(name) for name in sorted(imported.actions)) or "none"
            raise InputError(
                f"object {spec.name!r} has no action {wanted.action!r}; {file} holds {has}; use one of those"
            )
        bindings = imported.actions[wanted.action]
        first = min(binding.action.frame_range[0] for binding in bindings)
        last = max(binding.action.frame_range[1] for binding in bindings)
        for binding in bindings:
            data = binding.target.animation_data_create()
            track = data.nla_tracks.new()
            strip = track.strips.new(f"{wanted.action} {number}", wanted.start_frame, binding.action)
            strip.action_slot = binding.slot
            strip.action_frame_start, strip.action_frame_end = first, last
            strip.scale = fps / imported.fps / wanted.speed
            strip.repeat = wanted.repeat
            strip.blend_type = "REPLACE"
            strip.extrapolation = "HOLD" if number == 0 else "HOLD_FORWARD"


def key_shapes(imported: Imported, spec: ObjectSpec, file: str) -> None:
    """Keys the values of shape keys. Raises InputError for one that the mesh lacks, with those it has."""
    known = imported.shape_keys()
    for name in dict.fromkeys(key.shape_key for key in spec.shape_keys):
        if name not in known:
            raise InputError(
                f"object {spec.name!r} ({file}) has no shape key {name!r}; {nearest(name, known)}"
            )
        keys = [key for key in spec.shape_keys if key.shape_key == name]
        for block in known[name]:
            values = [key.value for key in keys]
            block.slider_min, block.slider_max = min(-10.0, *values), max(10.0, *values)
            for key in keys:
                block.value = key.value
                block.keyframe_insert("value", frame=key.frame)
            _set_modes(block, {key.frame: key.interpolation for key in keys})


def _set_modes(block: bpy.types.ShapeKey, modes: dict[int, str]) -> None:
    """The F-curve mode of every key of one shape key."""
    curves = block.id_data.animation_data.action.fcurves
    curve = curves.find(block.path_from_id("value"))
    for point in curve.keyframe_points:
        point.interpolation = modes[round(point.co.x)]
    curve.update()


def key_visibility(meshes: Iterable[bpy.types.Object], keys: Sequence[VisibilityKey]) -> None:
    """Shows and hides meshes, in the viewport as in renders."""
    for item in meshes:
        for frame, visible in _with_start(keys):
            for channel in ("hide_render", "hide_viewport"):
                setattr(item, channel, not visible)
                item.keyframe_insert(channel, frame=frame)  # booleans never blend


def _with_start(keys: Sequence[VisibilityKey]) -> list[tuple[int, bool]]:
    """The keys, and before the first one its opposite."""
    if not keys:
        return []
    return [(keys[0].frame - 1, not keys[0].visible), *((key.frame, key.visible) for key in keys)]
