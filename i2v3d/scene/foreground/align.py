"""Where a mesh of any origin, size and turn must stand so that its outline is the foreground's in the photo."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from i2v3d.errors import InputError
from i2v3d.geometry import cameras as geometry
from i2v3d.geometry.cameras import Array
from i2v3d.images import Mask
from i2v3d.scene.photo.view import PhotoView

SAMPLES = 30_000  # points on the surface that stand for it
OUTLINE_PX = 160  # longer side of the pictures in which outlines are compared
BLUR_PX = 1.0  # so that the comparison has a slope to follow
STEPS, ROUNDS = 250, 2  # of the search from each start; a second round leaves a false summit
PIXEL_STEP, SIZE_STEP = (
    0.05,
    0.1,
)  # first steps of the search: of the outline's height, of the logarithm of size


@dataclass(frozen=True)
class Alignment:
    """place: world from mesh axes (4, 4). overlap: intersection over union of the outlines, 0 to 1."""

    place: Array
    overlap: float


def align(
    vertices_m: npt.NDArray[np.floating],
    faces: npt.NDArray[np.int64],
    mask: Mask,
    view: PhotoView,
    depth_m: float,
    rotation_deg: tuple[float, float, float],
    turn_deg: float,
) -> Alignment:
    """Finds turn, size and position of a mesh from its outline, by a search without derivatives.

    vertices_m: (n, 3), z up. mask: (H, W), the foreground. depth_m: planar depth of the mesh's centre.
    rotation_deg: XYZ Euler angles that turn the mesh's front to the camera (towards -y); turn_deg: how far the
    search may turn it from there about each axis; 0 keeps it. Raises InputError for a mesh without extent.
    """
    cloud = surface_points(vertices_m, faces)
    centre = (cloud.min(axis=0) + cloud.max(axis=0)) / 2
    radius = float(np.linalg.norm(cloud - centre, axis=1).max())
    if not radius > 0:
        raise InputError(
            "the mesh of the foreground has no extent, all of its vertices coincide; export it again"
        )
    cloud = (cloud - centre) / radius
    start_turn = Rotation.from_euler("xyz", rotation_deg, degrees=True)
    outline = _Outline(mask, view)

    def pose(free: Array) -> Array:
        turn = start_turn
        if turn_deg > 0:
            turn = Rotation.from_euler("zxy", turn_deg * np.sin(free[3:6]), degrees=True) * start_turn
        matrix = np.eye(4)
        matrix[:3, :3] = np.exp(free[2]) * turn.as_matrix()
        matrix[:3, 3] = view.points(free[:2], depth_m)
        return matrix

    def cost(free: Array) -> float:
        return 1.0 - outline.overlap(geometry.transform(pose(free), cloud))

    best, lowest = None, np.inf
    for yaw in (0.0, 0.6, -0.6) if turn_deg > 0 else (0.0,):
        free = _start(
            mask, view, depth_m, geometry.transform(pose(np.array([0, 0, 0, yaw, 0, 0.0])), cloud), yaw
        )
        found = minimize(cost, free, method="Nelder-Mead", options=_options(free, mask))
        if found.fun < lowest:
            best, lowest = found.x, float(found.fun)
    assert best is not None, "the search has at least one start"
    normalise = np.diag([1 / radius, 1 / radius, 1 / radius, 1.0]) @ geometry.translation(-centre)
    return Alignment(pose(best) @ normalise, outline.hard_overlap(geometry.transform(pose(best), cloud)))


def surface_points(
    vertices_m: npt.NDArray[np.floating], faces: npt.NDArray[np.int64], count: int = SAMPLES
) -> Array:
    """(count, 3) points spread evenly over the area of a mesh, the same at every call."""
    corners = vertices_m[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    random = np.random.default_rng(0)
    if not area.sum() > 0:
        return corners.reshape(-1, 3)
    chosen = random.choice(len(faces), count, p=area / area.sum())
    u, v = random.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = (corners[chosen, k] for k in range(3))
    return a + u * (b - a) + v * (c - a)


class _Outline:
    """The foreground's outline at a small size, and how well a cloud of points covers it."""

    def __init__(self, mask: Mask, view: PhotoView) -> None:
        self._scale = OUTLINE_PX / max(mask.shape)
        self._size = (max(1, round(mask.shape[1] * self._scale)), max(1, round(mask.shape[0] * self._scale)))
        self._view, self._w2c = view, geometry.invert_pose(view.c2w)
        small = cv2.resize(mask.astype(np.float32), self._size, interpolation=cv2.INTER_AREA)
        self._hard, self._soft = small >= 0.5, cv2.GaussianBlur(small, (0, 0), BLUR_PX)

    def overlap(self, points_m: Array) -> float:
        """Intersection over union of the blurred outlines."""
        drawn = cv2.GaussianBlur(self._draw(points_m).astype(np.float32), (0, 0), BLUR_PX)
        return float(np.minimum(drawn, self._soft).sum() / np.maximum(drawn, self._soft).sum())

    def hard_overlap(self, points_m: Array) -> float:
        """Intersection over union of the outlines themselves."""
        drawn = self._draw(points_m) > 0
        return float((drawn & self._hard).sum() / (drawn | self._hard).sum())

    def _draw(self, points_m: Array) -> npt.NDArray[np.uint8]:
        """(h, w): 1 where a point is seen; gaps between neighbouring points are closed."""
        pixels, depth = geometry.project(points_m, self._view.K, self._w2c)
        column, row = np.floor(pixels[depth > 0] * self._scale).astype(np.int64).T
        inside = (column >= 0) & (row >= 0) & (column < self._size[0]) & (row < self._size[1])
        drawn = np.zeros(self._size[::-1], np.uint8)
        drawn[row[inside], column[inside]] = 1
        return cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))


def _start(mask: Mask, view: PhotoView, depth_m: float, points_m: Array, yaw: float) -> Array:
    """(6,): image point, logarithm of size and angles at which the mesh is as large as the mask, about its middle.

    points_m: the mesh of radius 1 about the left top of the frame, which it is brought from.
    """
    rows, columns = np.nonzero(mask)
    centre = np.array([(columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2])
    extent = np.array([np.ptp(columns) + 1, np.ptp(rows) + 1])
    camera = geometry.transform(geometry.invert_pose(view.c2w), points_m)[:, :2]
    size = extent * depth_m / view.focal_px / np.ptp(camera, axis=0)
    return np.array([*centre, float(np.log(np.sqrt(size[0] * size[1]))), yaw, 0.0, 0.0])


def _options(free: Array, mask: Mask) -> dict[str, object]:
    """The first simplex: steps that suit each number, and where to stop."""
    height = float(np.ptp(np.nonzero(mask)[0])) + 1
    steps = np.array([PIXEL_STEP * height, PIXEL_STEP * height, SIZE_STEP, 0.3, 0.3, 0.3])[: len(free)]
    simplex = np.vstack([free, free + np.diag(steps)])
    return {"initial_simplex": simplex, "maxfev": STEPS, "xatol": 1e-3, "fatol": 1e-4}
