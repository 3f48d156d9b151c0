"""What the camera will see, before anything is rendered: not the inside of an object, and some foreground."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix, Vector
from mathutils.bvhtree import BVHTree
from numpy.typing import NDArray

from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.inside.camera import read_camera, scaled, unit_m
from i2v3d.blender.inside.nodes import FACE_KINDS
from i2v3d.blender.inside.roles import role
from i2v3d.errors import ConfigError
from i2v3d.geometry.cameras import transform

log = logging.getLogger(__name__)

Array = NDArray[np.float64]
POINTS = 4000  # of an object, to see whether it can be in the frame
STEP = 1e-5  # behind a surface that a ray has crossed, in diagonals of the object
CROSSINGS = 200
_DIRECTIONS = ((0.36, 0.48, 0.8), (-0.8, 0.36, 0.48), (0.48, -0.8, 0.36))


@dataclass(frozen=True)
class _Shape:
    """A mesh at one frame, in its own axes. points: (n, 3), some of its vertices. low, high: its box."""

    points: Array
    low: Array
    high: Array
    tree: BVHTree


def check_sight(scene: bpy.types.Scene, spec: SceneSpec) -> None:
    """Raises ConfigError if the camera is inside a foreground object at any frame of the shot, or no frame
    has any of the foreground before the camera. Objects that no frame shows are warned about."""
    still: dict[str, _Shape] = {}
    seen: dict[str, bool] = {}
    for number, frame in enumerate(range(spec.start_frame, spec.last_frame + 1), start=1):
        scene.frame_set(frame)
        K, w2c = read_camera(scene)
        w2c = scaled(w2c, 1 / unit_m(scene))
        eye = np.linalg.inv(w2c)[:3, 3]
        for item, pose in _foreground(scene):
            seen.setdefault(item.name, False)
            shape = None if item.hide_render else _shape(item, still)
            if shape is None:
                continue
            if _contains(shape, np.linalg.inv(pose) @ [*eye, 1.0]):
                raise ConfigError(
                    f"scene.camera stands inside object {item.name!r} at frame {number}; move one of them"
                )
            if not seen[item.name]:
                seen[item.name] = _in_frame(transform(pose, shape.points), K, w2c, spec.width, spec.height)
    _report(seen)


def _report(seen: Mapping[str, bool]) -> None:
    if seen and not any(seen.values()):
        raise ConfigError(
            f"scene.camera never sees the foreground ({', '.join(sorted(seen))}) in any frame of the shot; "
            "check the paths of camera and objects"
        )
    for name in sorted(name for name, visible in seen.items() if not visible):
        log.warning("object %r is before the camera in no frame of the shot", name)


def _foreground(scene: bpy.types.Scene) -> Iterator[tuple[bpy.types.Object, Array]]:
    """Objects with faces of the foreground and where each stands (4, 4), once for every instance of a collection."""
    for item in scene.objects:
        if item.type in FACE_KINDS and role(item) == "foreground":
            yield item, np.array(item.matrix_world, dtype=np.float64)
        if item.instance_type != "COLLECTION" or item.instance_collection is None or item.hide_render:
            continue
        origin = Matrix.Translation(-item.instance_collection.instance_offset)
        for part in item.instance_collection.all_objects:
            if part.type in FACE_KINDS and role(part) == "foreground":
                yield part, np.array(item.matrix_world @ origin @ part.matrix_world, dtype=np.float64)


def _shape(item: bpy.types.Object, still: dict[str, _Shape]) -> _Shape | None:
    """An object's evaluated mesh; kept for all frames if nothing deforms it. None without faces."""
    if item.name in still:
        return still[item.name]
    evaluated = item.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    if mesh is None or not len(mesh.polygons):
        return None
    vertices = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", vertices)
    mesh.calc_loop_triangles()
    corners = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", corners)
    evaluated.to_mesh_clear()
    points = vertices.reshape(-1, 3).astype(np.float64)
    tree = BVHTree.FromPolygons(points.tolist(), corners.reshape(-1, 3).tolist(), all_triangles=True)
    some = points[:: max(1, len(points) // POINTS)]
    shape = _Shape(some, points.min(axis=0), points.max(axis=0), tree)
    if item.type == "MESH" and not item.modifiers and item.data.shape_keys is None:
        still[item.name] = shape
    return shape


def _contains(shape: _Shape, eye: Array) -> bool:
    """Whether a point in the mesh's axes is inside it: rays in most directions cross it an odd number of
    times. An open mesh, such as a plane, has no inside."""
    point = eye[:3]
    if (point <= shape.low).any() or (point >= shape.high).any():
        return False
    step = STEP * float(np.linalg.norm(shape.high - shape.low))
    odd = [_crossings(shape.tree, Vector(point), Vector(way), step) % 2 for way in _DIRECTIONS]
    return sum(odd) >= 2


def _crossings(tree: BVHTree, start: Vector, way: Vector, step: float) -> int:
    for count in range(CROSSINGS):
        hit, *_ = tree.ray_cast(start, way)
        if hit is None:
            return count
        start = hit + step * way
    return CROSSINGS


def _in_frame(points_m: Array, K: Array, w2c: Array, width: int, height: int) -> bool:
    """Whether the points are not all on the outer side of one side of what the camera sees.

    Large faces can fill a frame that holds none of their corners, so this errs towards 'seen'.
    """
    camera = transform(w2c, points_m)
    (x, y, _), depth = (camera @ K.T).T, camera[:, 2]
    beyond = (depth <= 0, x < 0, x > width * depth, y < 0, y > height * depth)
    return not any(side.all() for side in beyond)
