"""What is wrong with a camera's view of a scene, while it is dragged: the build and the render have the last word.

Blender's own checks (`i2v3d.blender.inside.sight`) refuse a run for the first of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import trimesh

from i2v3d.geometry.cameras import Array, transform
from i2v3d.scene.motion.camera_path import View
from i2v3d.studio.shown import Shown

HOLDS_DEG = 15.0  # an inflated photo (docs/scene.md)
RASTER_PX = 96  # width of the raster that holes are looked for in
HOLE = 0.01  # of the frame, from which on one is told
INSIDE = 0.5  # winding number
NEAR_M = 1e-3


@dataclass(frozen=True)
class Body:
    """A mesh in its own axes. triangles: (m, 3, 3)."""

    foreground: bool
    points_m: Array
    triangles_m: Array

    @staticmethod
    def of(mesh: trimesh.Trimesh, foreground: bool) -> Body:
        return Body(foreground, np.asarray(mesh.vertices, float), np.asarray(mesh.triangles, float))


def warnings_at(shown: Shown, bodies: Mapping[str, Body], index: int, inflated: bool) -> list[str]:
    """What a user should know of a frame, counted from 0. inflated: the photo's object is only its silhouette's."""
    view = shown.views[index]
    found = []
    placed = {
        name: (body, np.eye(4) if name in shown.surfaces else shown.poses[name][index])
        for name, body in bodies.items()
        if name in shown.visible and shown.visible[name][index]
    }
    for name, (body, pose) in placed.items():
        if not body.foreground:
            continue
        eye = transform(np.linalg.inv(pose), view.c2w[None, :3, 3])[0]
        if winding(body.triangles_m, eye) > INSIDE:
            found.append(f"the camera is inside {name}")
        elif not in_frame(transform(pose, body.points_m), view, shown):
            found.append(f"{name} is out of sight")
    if inflated and "foreground" in placed and shown.photo_view is not None:
        turned = turned_deg(shown.photo_view, view, shown.poses["foreground"][index], shown)
        if turned > HOLDS_DEG:
            found.append(
                f"foreground is seen {turned:.0f}° from the photo's side; one photo holds about {HOLDS_DEG:.0f}°"
            )
    hole = hole_share([(body.triangles_m, pose) for body, pose in placed.values()], view, shown)
    if hole > HOLE:
        found.append(f"a hole is in view: {hole:.0%} of the frame shows nothing")
    return found


def winding(triangles_m: Array, point: Array) -> float:
    """How often a surface (m, 3, 3) goes around a point: 1 inside a closed one, 0 outside, between for an open one.

    Source: Van Oosterom and Strackee 1983, The Solid Angle of a Plane Triangle.
    """
    a, b, c = (triangles_m[:, corner] - point for corner in range(3))
    la, lb, lc = (np.linalg.norm(side, axis=1) for side in (a, b, c))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c))
    below = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
    return float(abs(np.arctan2(volume, below).sum()) / (2 * np.pi))


def in_frame(points_m: Array, view: View, shown: Shown) -> bool:
    """Whether any of the points (n, 3) is before the camera and in its frame."""
    seen = transform(np.linalg.inv(view.c2w), points_m)
    seen = seen[seen[:, 2] > NEAR_M]
    column, row = _pixels(seen, view, shown)
    return bool(((column >= 0) & (column < shown.size[0]) & (row >= 0) & (row < shown.size[1])).any())


def turned_deg(photo: View, view: View, pose: Array, shown: Shown) -> float:
    """By what angle the camera sees the photo's object from another side than the photo does."""
    back = np.linalg.inv(pose)
    then = photo.c2w[:3, 3] - np.asarray(shown.pivot_m)
    now = transform(back, view.c2w[None, :3, 3])[0] - np.asarray(shown.pivot_m)
    cosine = then @ now / max(float(np.linalg.norm(then) * np.linalg.norm(now)), 1e-12)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def hole_share(parts: Sequence[tuple[Array, Array]], view: View, shown: Shown) -> float:
    """Which share of the frame shows no surface. parts: triangles (m, 3, 3) and their pose. On a coarse raster;
    triangles that reach behind the camera count as not there, but those around it are small."""
    width = RASTER_PX
    height = max(1, round(width * shown.size[1] / shown.size[0]))
    raster = np.zeros((height, width), np.uint8)
    world = np.linalg.inv(view.c2w)
    for triangles, pose in parts:
        seen = transform(world @ pose, triangles.reshape(-1, 3)).reshape(-1, 3, 3)
        seen = seen[(seen[..., 2] > NEAR_M).all(axis=1)]
        column, row = _pixels(seen.reshape(-1, 3), view, shown)
        corners = np.stack([column * width / shown.size[0], row * height / shown.size[1]], -1).reshape(
            -1, 3, 2
        )
        near = (np.abs(corners) < 2**15).all(axis=(1, 2))
        outlines = np.rint(corners[near] * 16).astype(np.int32)
        for outline in outlines:  # one by one: together, overlaps would cancel out
            cv2.fillConvexPoly(raster, outline, 1, shift=4)
    return float(1 - raster.mean())


def _pixels(points: Array, view: View, shown: Shown) -> tuple[Array, Array]:
    """Columns and rows of points (n, 3) in camera axes."""
    depth = np.maximum(points[:, 2], NEAR_M)
    cx, cy = shown.centre_px
    return points[:, 0] / depth * view.focal_px + cx, points[:, 1] / depth * view.focal_px + cy
