"""What the page writes of a camera: keys from views, and the recipes of docs/scene.md with their sliders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from i2v3d.geometry.cameras import Array
from i2v3d.scene.motion.camera_path import OPENCV_FROM_BLENDER
from i2v3d.studio.yaml_edit import Edit


@dataclass(frozen=True)
class Slider:
    """low, high, step, first: in `unit`; of lengths as shares of the distance to the object."""

    label: str
    unit: str
    low: float
    high: float
    step: float
    first: float


RECIPES: Mapping[str, Slider] = {
    "orbit": Slider("around the object", "degrees", -45.0, 45.0, 0.5, 12.0),
    "orbit up": Slider("over the object", "degrees", -20.0, 40.0, 0.5, 8.0),
    "dolly": Slider("towards the object", "metres", -0.5, 0.8, 0.01, 0.2),
    "dolly zoom": Slider("towards the object, which keeps its size", "metres", -0.5, 0.8, 0.01, 0.3),
    "truck": Slider("to the right", "metres", -0.5, 0.5, 0.01, 0.1),
    "crane": Slider("up", "metres", -0.3, 0.5, 0.01, 0.1),
    "pan": Slider("to the right, in place", "degrees", -30.0, 30.0, 0.5, 6.0),
    "tilt": Slider("up, in place", "degrees", -20.0, 20.0, 0.5, 4.0),
    "handheld": Slider("swing", "degrees", 0.0, 3.0, 0.05, 0.6),
}


def recipe_edits(
    kind: str, amount: float, first: int, last: int, easing: str, distance_m: float, moves: Sequence[Any]
) -> list[Edit]:
    """Edits that add a recipe. amount: in the slider's unit, lengths in metres. distance_m: of the object.
    moves: those that there are. Handheld replaces the shake."""
    if kind == "handheld":
        shake = {
            "position_m": 0.008 * amount * distance_m,
            "rotation_deg": amount,
            "frequency_hz": 1.2,
            "seed": 0,
        }
        return [Edit(("camera", "handheld"), shake if amount else None)]
    added = [(kind.replace(" ", "_"), amount)]
    if kind == "dolly zoom":
        added = [("dolly", amount), ("zoom", (distance_m - amount) / distance_m)]
    return [
        Edit(
            ("camera", "moves", len(moves) + number),
            {"kind": name, "amount": value, "start_frame": first, "end_frame": last, "interpolation": easing},
            "insert",
        )
        for number, (name, value) in enumerate(added)
    ]


def euler_deg(c2w: Array) -> list[float]:
    """A camera's rotation (OpenCV axes) as XYZ Euler angles of Blender's camera."""
    turn = c2w[:3, :3] @ OPENCV_FROM_BLENDER
    return [float(angle) for angle in Rotation.from_matrix(turn).as_euler("xyz", degrees=True)]


def key_edits(
    frame: int, c2w: Array, fov_deg: float | None, easing: str, camera: Mapping[str, Any], moves_go: bool
) -> list[Edit]:
    """Edits that put the camera at a pose at a frame: a new key, or another pose of the one there.

    moves_go: whether moves and shake, which come on top of keys, are taken out, so that the frame is that pose.
    """
    pose = {
        "frame": frame,
        "position_m": [float(value) for value in c2w[:3, 3]],
        "look_at_m": None,
        "rotation_deg": euler_deg(c2w),
        "fov_deg": fov_deg,
        "interpolation": easing,
    }
    return key_edit(("camera", "keys"), camera["keys"], pose) + (
        [
            Edit(("camera", name), empty)
            for name, empty in (("moves", []), ("handheld", None))
            if camera.get(name)
        ]
        if moves_go
        else []
    )


def key_edit(
    option: tuple[str | int, ...], keys: Sequence[Mapping[str, Any]], key: Mapping[str, Any]
) -> list[Edit]:
    """Sets a key in a list that is ordered by frames."""
    frames = [one["frame"] for one in keys]
    if key["frame"] in frames:
        return [Edit((*option, frames.index(key["frame"])), dict(key))]
    return [Edit((*option, int(np.searchsorted(frames, key["frame"]))), dict(key), "insert")]


def key_gone(option: tuple[str | int, ...], keys: Sequence[Mapping[str, Any]], frame: int) -> list[Edit]:
    """Takes the key of a frame out of a list, if there is one."""
    return [Edit((*option, n), None, "delete") for n, key in enumerate(keys) if key["frame"] == frame]
