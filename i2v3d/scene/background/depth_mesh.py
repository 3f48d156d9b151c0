"""A mesh from a picture and its depth: cut where depth jumps, never stretched from one surface to the next."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from i2v3d.geometry.cameras import Array, ArrayLike
from i2v3d.geometry.meshes import TexturedMesh, grid_faces, stitched_faces
from i2v3d.images import Mask, Rgb

BLOCK_PX = 4  # faces of smooth surfaces; beside a cut, every pixel has its own
Bools = npt.NDArray[np.bool_]
# Of the four pixels a b / c d around a corner: which two an edge joins, and the other way round between them.
_AROUND = {
    "ab": ("ac", "cd", "bd"),
    "cd": ("ac", "ab", "bd"),
    "ac": ("ab", "bd", "cd"),
    "bd": ("ab", "ac", "cd"),
}


class Rays(Protocol):
    """A camera: `points` are the world points (..., 3) at planar depth (...) on the rays of pixels (..., 2)."""

    def points(self, pixels: ArrayLike, depth_m: ArrayLike) -> Array:
        """World points in metres; pixels in image coordinates."""


def depth_mesh(
    plate: Rgb, view: Rays, depth_m: Array, pad_x: int, pad_y: int, cut: float, keep: Mask | None = None
) -> TexturedMesh:
    """The padded plate (H, W, 3) at planar depth (H, W) in metres, on the rays of the view that it shows.

    Two neighbouring pixels belong to different surfaces if their disparity differs by more than the fraction
    `cut` from what its slope beside them predicts, so that slanted planes stay whole. Seen from that view nothing
    is missing, since each surface reaches to the border between the two pixels; from elsewhere the cut opens, and
    what nobody saw is a hole. keep: (H, W), the pixels to make a mesh of; None for all.
    Source: layered depth, Shade et al. 1998, the cuts only.
    """
    disparity = 1.0 / depth_m
    joined_x, joined_y = joined(disparity, cut)
    corner_disparity, whole = _corners(disparity, joined_x, joined_y)
    height, width = depth_m.shape
    fine = np.ones((height, width), np.bool_) if keep is None else keep.copy()
    blocks = _whole_blocks(whole) & _full_blocks(fine)
    rows, columns = (side * BLOCK_PX for side in blocks.shape)
    fine[:rows, :columns] &= ~np.kron(blocks, np.ones((BLOCK_PX, BLOCK_PX), np.bool_))
    faces = np.concatenate([_fine_faces(fine, whole), stitched_faces(blocks, BLOCK_PX, width)])
    used, faces = np.unique(faces, return_inverse=True)
    corner, slot = used % whole.size, used // whole.size
    x, y = corner % (width + 1), corner // (width + 1)
    value = corner_disparity[slot, y, x]
    pixels = np.stack([x - pad_x, y - pad_y], axis=-1).astype(np.float64)
    return TexturedMesh(
        vertices_m=view.points(pixels, 1.0 / value).astype(np.float32),
        faces=faces.reshape(-1, 3).astype(np.int64),
        uv=np.stack([x / width, y / height], axis=-1).astype(np.float32),
        texture=plate,
    )


def joined(disparity: Array, cut: float) -> tuple[Bools, Bools]:
    """Whether pixels of (H, W) belong to the surface of their right (H, W-1) and lower (H-1, W) neighbour."""
    return _joined_right(disparity, cut), _joined_right(disparity.T, cut).T


def _joined_right(disparity: Array, cut: float) -> Bools:
    step = np.diff(disparity, axis=1)
    before = np.pad(step, ((0, 0), (1, 0)), "edge")[:, :-1]
    after = np.pad(step, ((0, 0), (0, 1)), "edge")[:, 1:]
    off = np.minimum(np.abs(step - before), np.abs(step - after))
    if step.shape[1] > 1:  # at the frame's edge there is a slope on one side only
        off[:, 0], off[:, -1] = np.abs(step - after)[:, 0], np.abs(step - before)[:, -1]
    return off <= cut * np.minimum(disparity[:, 1:], disparity[:, :-1])


def _corners(disparity: Array, joined_x: Bools, joined_y: Bools) -> tuple[Array, Bools]:
    """Disparity (5, H+1, W+1) at the pixel corners, and where all pixels around one are of one surface (H+1, W+1).

    Slot 0 holds the mean of all four pixels; slots 1 to 4, for the pixels a b / c d around the corner, the mean
    of those of their surface, which neighbours on one surface therefore share.
    """
    padded = np.pad(disparity, 1, "edge")
    right = np.pad(joined_x, ((1, 1), (1, 1)), "edge")
    down = np.pad(joined_y, ((1, 1), (1, 1)), "edge")
    right[:, [0, -1]] = True
    down[[0, -1]] = True
    value = {"a": padded[:-1, :-1], "b": padded[:-1, 1:], "c": padded[1:, :-1], "d": padded[1:, 1:]}
    edge = {"ab": right[:-1], "cd": right[1:], "ac": down[:, :-1], "bd": down[:, 1:]}
    link = {pair: edge[pair] | (edge[i] & edge[j] & edge[k]) for pair, (i, j, k) in _AROUND.items()}
    link["ad"] = (edge["ab"] & edge["bd"]) | (edge["ac"] & edge["cd"])
    link["bc"] = (edge["ab"] & edge["ac"]) | (edge["bd"] & edge["cd"])
    slots = [sum(value.values()) / 4.0]
    for one in "abcd":
        total, count = value[one].copy(), np.ones(value[one].shape)
        for other in set("abcd") - {one}:
            linked = link["".join(sorted(one + other))]
            total += np.where(linked, value[other], 0.0)
            count += linked
        slots.append(total / count)
    whole = link["ab"] & link["cd"] & link["ac"] & link["bd"]
    return np.stack(slots), whole


def _whole_blocks(whole: Bools) -> Mask:
    """Blocks of BLOCK_PX x BLOCK_PX pixels none of whose (BLOCK_PX + 1)^2 corners lies on a cut."""
    height, width = whole.shape
    rows, columns = (height - 1) // BLOCK_PX, (width - 1) // BLOCK_PX
    good = np.ones((rows, columns), np.bool_)
    for down in range(BLOCK_PX + 1):
        for right in range(BLOCK_PX + 1):
            part = whole[
                down : down + rows * BLOCK_PX : BLOCK_PX, right : right + columns * BLOCK_PX : BLOCK_PX
            ]
            good &= part
    return good


def _full_blocks(keep: Mask) -> Mask:
    """Blocks of BLOCK_PX x BLOCK_PX pixels all of which are kept."""
    rows, columns = (side // BLOCK_PX for side in keep.shape)
    inner = keep[: rows * BLOCK_PX, : columns * BLOCK_PX]
    return inner.reshape(rows, BLOCK_PX, columns, BLOCK_PX).all(axis=(1, 3))


def _fine_faces(fine: Mask, whole: Bools) -> npt.NDArray[np.int64]:
    """Two triangles a pixel; a corner on a cut is the pixel's own: its index plus slot times the corners."""
    faces = grid_faces(fine)
    width = fine.shape[1]
    row, column = (np.repeat(index, 2)[:, None] for index in np.nonzero(fine))
    y, x = faces // (width + 1), faces % (width + 1)
    # The pixel lies right of and below its left top corner, of whose four it is d; b of its left bottom one.
    slot = 1 + 2 * (y == row) + (x == column)
    return faces + np.where(whole.ravel()[faces], 0, slot) * whole.size
