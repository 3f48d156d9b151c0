"""A mesh painted with the photo: what the photo's camera sees of it shows the photo, the rest made-up colours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from i2v3d.geometry import cameras as geometry
from i2v3d.geometry.cameras import Array
from i2v3d.geometry.meshes import TexturedMesh
from i2v3d.images import Mask, Rgb
from i2v3d.scene.foreground.align import surface_points
from i2v3d.scene.foreground.inflate import Back, back_texture
from i2v3d.scene.photo.view import PhotoView

SMALL_EDGE = 0.03  # of the object's extent: on longer edges a picture would bend, so they are halved
FINE_FACES = 200_000  # a mesh of more faces has no long edges that matter
BUFFER_PX = 192  # longer side of the depth buffer that decides what the camera sees
BUFFER_SAMPLES = 300_000  # points that fill it: some dozens a cell, so that none stays empty
NEARER = 0.02  # of the object's extent: closer to the nearest surface than this is seen


def painted(
    points_m: npt.NDArray[np.floating],
    faces: npt.NDArray[np.int64],
    rgb: Rgb,
    mask: Mask,
    view: PhotoView,
    back: Back,
) -> TexturedMesh:
    """The mesh (n, 3) in the world, with the photo on the faces that its camera sees.

    rgb (H, W, 3), mask (H, W): the frame. Faces that are seen take the picture at the pixels that they project to,
    and the nearest colour of the object beyond its mask; hidden ones and the far side take `back_texture`.
    """
    vertices, triangles = _small_faces(np.asarray(points_m, np.float64), faces)
    seen = _seen(vertices, triangles, view)
    pixels, _ = geometry.project(vertices, view.K, geometry.invert_pose(view.c2w))
    half = np.clip(pixels / [view.width, view.height], 0.0, 1.0) * [0.5, 1.0]
    # Front and back have vertices of their own; those that no face uses are left out.
    doubled = np.where(seen[:, None], triangles, triangles + len(vertices))
    used, index = np.unique(doubled, return_inverse=True)
    uv = np.concatenate([half, half + np.array([0.5, 0.0])])[used]
    return TexturedMesh(
        vertices_m=np.concatenate([vertices, vertices])[used].astype(np.float32),
        faces=index.reshape(-1, 3).astype(np.int64),
        uv=uv.astype(np.float32),
        texture=np.concatenate([back_texture(rgb, mask, "mirror"), back_texture(rgb, mask, back)], axis=1),
    )


def _small_faces(vertices: Array, faces: npt.NDArray[np.int64]) -> tuple[Array, npt.NDArray[np.int64]]:
    """The same surface with short edges: texture coordinates run straight over a face, the picture does not."""
    if len(faces) > FINE_FACES:
        return vertices, faces
    from trimesh.remesh import subdivide_to_size  # half a second that checking a scene should not pay

    longest = SMALL_EDGE * float(np.ptp(vertices, axis=0).max())
    more, smaller = subdivide_to_size(vertices, faces, longest, max_iter=20)
    return np.asarray(more, np.float64), np.asarray(smaller, np.int64)


def _seen(vertices: Array, faces: npt.NDArray[np.int64], view: PhotoView) -> npt.NDArray[np.bool_]:
    """Which faces (m,) the camera sees, whichever way they turn: their middle is about as near as anything there."""
    w2c = geometry.invert_pose(view.c2w)
    scale = BUFFER_PX / max(view.width, view.height)
    size = (round(view.height * scale) + 1, round(view.width * scale) + 1)

    def cells(points: Array) -> tuple[npt.NDArray[np.int64], Array]:
        pixels, depth = geometry.project(points, view.K, w2c)
        column, row = (
            np.clip(np.nan_to_num(pixels[:, i] * scale), 0, size[1 - i] - 1).astype(int) for i in (0, 1)
        )
        return row * size[1] + column, depth

    middles = vertices[faces].mean(axis=1)
    where, depth = cells(np.concatenate([surface_points(vertices, faces, BUFFER_SAMPLES), middles]))
    nearest = np.full(size[0] * size[1], np.inf)
    np.minimum.at(nearest, where, depth)
    own = where[-len(faces) :]
    return depth[-len(faces) :] <= nearest[own] + NEARER * float(np.ptp(vertices, axis=0).max())
