"""F-curves: the interpolation mode of keys."""

from __future__ import annotations

from collections.abc import Mapping

import bpy


def set_interpolation(owner: bpy.types.ID, modes: Mapping[int, str]) -> None:
    """Sets the F-curve mode from each key to the next one, on every curve of `owner`, by frame number."""
    if owner.animation_data is None or owner.animation_data.action is None:
        return
    for curve in owner.animation_data.action.fcurves:
        for point in curve.keyframe_points:
            point.interpolation = modes[round(point.co.x)]
        curve.update()
