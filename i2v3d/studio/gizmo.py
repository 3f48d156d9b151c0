"""The gizmo that moves, turns and scales one thing: arrows and rings of viser, and a knob above them for the scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import viser
from scipy.spatial.transform import Rotation

from i2v3d.geometry.cameras import Array
from i2v3d.studio.desk import Desk

KNOB, KNOB_COLOUR = 0.11, (255, 122, 26)  # radius as a share of the gizmo's size
KNOB_UP = 1.35  # sizes above the middle
SMALLEST, LARGEST = 0.05, 20.0  # factor of one drag
Moved = Callable[[Array, float], None]


def wxyz(turn: Array) -> Array:
    """A rotation (3, 3) as viser takes it."""
    x, y, z, w = Rotation.from_matrix(turn).as_quat()
    return np.array([w, x, y, z])


class Gizmo:
    """target: what it moves at present."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._scene = desk, desk.server.scene
        self.target: str | None = None
        self._arrows: viser.TransformControlsHandle | None = None
        self._knob: Any = None
        self._size_m, self._moved = 1.0, _nothing
        self._factor = 1.0  # since the last `place`
        self._far_m: float | None = None  # of the pointer when the factor was 1, while the knob is dragged

    def hold(self, target: str, pose: Array, size_m: float, moved: Moved, scales: bool) -> None:
        """Puts the gizmo at a pose (4, 4, a rotation). moved: called with a new one and a factor of the scale as it is
        dragged. scales: whether it has the knob."""
        self.release()
        self._arrows = self._scene.add_transform_controls(
            "/gizmo", scale=size_m, position=pose[:3, 3], wxyz=wxyz(pose[:3, :3]), depth_test=False
        )
        self.target, self._size_m, self._moved = target, size_m, moved
        self._arrows.on_update(lambda _: self._tell())
        if scales:
            self._knob = self._scene.add_icosphere(
                "/gizmo_scale", KNOB * size_m, KNOB_COLOUR, cast_shadow=False, receive_shadow=False
            )
            self._knob.on_drag("left")(self._pulled)
        self.place(pose)

    def place(self, pose: Array) -> None:
        """Has the gizmo where its thing is now; the factor counts from here."""
        if self._arrows is None:
            return
        self._arrows.position, self._arrows.wxyz = pose[:3, 3], wxyz(pose[:3, :3])
        if self._far_m is not None:
            self._far_m *= self._factor
        self._factor = 1.0
        self._settle_knob()

    def release(self) -> None:
        """Takes the gizmo away."""
        for handle in (self._arrows, self._knob):
            if handle is not None:
                handle.remove()
        self.target, self._arrows, self._knob = None, None, None
        self._factor, self._far_m = 1.0, None

    def _pulled(self, event: Any) -> None:
        """The knob's distance from the middle is the scale."""
        if self._arrows is None:
            return
        far_m = float(np.linalg.norm(np.asarray(event.end_position) - self._arrows.position))
        if event.phase == "end":
            self._far_m = None
            self._settle_knob()
            return
        if self._far_m is None:
            self._far_m = max(far_m, 1e-3 * self._size_m)
        self._factor = float(np.clip(far_m / self._far_m, SMALLEST, LARGEST))
        self._knob.position = event.end_position
        self._tell()

    def _settle_knob(self) -> None:
        if self._knob is not None and self._arrows is not None and self._far_m is None:
            self._knob.position = self._arrows.position + np.array([0.0, 0.0, KNOB_UP * self._size_m])

    def _tell(self) -> None:
        if self._arrows is None:
            return
        w, x, y, z = self._arrows.wxyz
        now = np.eye(4)
        now[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
        now[:3, 3] = self._arrows.position
        self._settle_knob()
        self._desk.guarded(self._moved)(now, self._factor)


def _nothing(pose: Array, factor: float) -> None:
    """Of a gizmo that holds nothing."""
