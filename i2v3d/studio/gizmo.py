"""The gizmo that moves, turns and scales one thing: viser's arrows and rings, and an arrow above them for the scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import viser
from scipy.spatial.transform import Rotation

from i2v3d.geometry.cameras import Array
from i2v3d.studio.desk import Desk

UP, LONG = 1.2, 0.5  # of the arrow for the scale: where it begins above the middle, and its length, in sizes
SMALLEST, LARGEST = 0.05, 20.0  # factor of one drag
Moved = Callable[[Array, float], None]


def wxyz(turn: Array) -> Array:
    """A rotation (3, 3) as viser takes it."""
    x, y, z, w = Rotation.from_matrix(turn).as_quat()
    return np.array([w, x, y, z])


class Gizmo:
    """target: what it moves at present. dragged: whether somebody does so now. size_m: how long its arrows are."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._scene = desk, desk.server.scene
        self.target: str | None = None
        self._arrows: viser.TransformControlsHandle | None = None
        self._stretch: viser.TransformControlsHandle | None = None
        self.size_m = 1.0
        self._moved: Moved = _nothing
        self._factor = 1.0  # since the last `place`
        self._placed: tuple[Array, Array] | None = None  # where that was, until it has been moved
        self.dragged = False

    def hold(self, target: str, pose: Array, size_m: float, moved: Moved, scales: bool) -> None:
        """Puts the gizmo at a pose (4, 4, a rotation). moved: called with a new one and a factor of the scale as it is
        dragged. scales: whether it has an arrow for that."""
        self.release()
        self._arrows = self._scene.add_transform_controls(
            "/gizmo", scale=size_m, position=pose[:3, 3], wxyz=wxyz(pose[:3, :3]), depth_test=False
        )
        self.target, self.size_m, self._moved = target, size_m, moved
        self._arrows.on_update(self._phase)
        self._arrows.on_update(lambda _: self._pulled())
        if scales:
            self._stretch = self._scene.add_transform_controls(
                "/gizmo_scale",
                scale=LONG * size_m,
                active_axes=(False, False, True),
                disable_rotations=True,
                disable_sliders=True,
                depth_test=False,
            )
            self._scene.add_label("/gizmo_scale/what", "scale", position=(0.0, 0.0, 1.15 * LONG * size_m))
            self._stretch.on_update(self._phase)
            self._stretch.on_update(lambda _: self._stretched())
        self.place(pose)

    def place(self, pose: Array) -> None:
        """Has the gizmo where its thing is now, unless it is just dragged; the factor counts from here."""
        if self._arrows is None or self.dragged:
            return
        self._arrows.position, self._arrows.wxyz = pose[:3, 3], wxyz(pose[:3, :3])
        self._factor = 1.0
        self._placed = (np.array(self._arrows.position), np.array(self._arrows.wxyz))
        self._settle()

    def release(self) -> None:
        """Takes the gizmo away."""
        for handle in (self._arrows, self._stretch):
            if handle is not None:
                handle.remove()
        self.target, self._arrows, self._stretch = None, None, None
        self._factor, self.dragged = 1.0, False

    async def _phase(self, event: viser.TransformControlsEvent) -> None:
        """Notes whether it is dragged: viser calls what is no coroutine in any order."""
        self.dragged = event.phase != "end"

    def _pulled(self) -> None:
        self._settle()
        self._tell()

    def _stretched(self) -> None:
        """How far the arrow for the scale is from the middle, against where it was put, is the factor."""
        if self._arrows is None or self._stretch is None:
            return
        far_m = float(self._stretch.position[2] - self._arrows.position[2])
        self._factor = float(np.clip(far_m / (UP * self.size_m), SMALLEST, LARGEST))
        self._tell()

    def _settle(self) -> None:
        """Has the arrow for the scale go with the others."""
        if self._stretch is not None and self._arrows is not None:
            up = np.array([0.0, 0.0, UP * self.size_m * self._factor])
            self._stretch.position = self._arrows.position + up

    def _tell(self) -> None:
        if self._arrows is None or self._rests():
            return
        self._placed = None
        w, x, y, z = self._arrows.wxyz
        now = np.eye(4)
        now[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
        now[:3, 3] = self._arrows.position
        self._desk.guarded(self._moved)(now, self._factor)

    def _rests(self) -> bool:
        """Whether it was only touched since it was put where it is."""
        if self._arrows is None or self._placed is None or abs(self._factor - 1) > 1e-6:
            return False
        position, turn = self._placed
        return np.array_equal(self._arrows.position, position) and np.array_equal(self._arrows.wxyz, turn)


def _nothing(pose: Array, factor: float) -> None:
    """Of a gizmo that holds nothing."""
