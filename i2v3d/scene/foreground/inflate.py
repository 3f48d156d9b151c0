"""A foreground mesh from one photo: the silhouette is inflated like a cushion on the rays of the camera."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import linalg

from i2v3d.errors import ConfigError
from i2v3d.geometry.cameras import Array
from i2v3d.geometry.meshes import TexturedMesh, grid_faces, stitched_faces
from i2v3d.images import Mask, Rgb
from i2v3d.scene.photo.view import PhotoView, lowest_row

Back = Literal["mirror", "blurred", "neutral"]
Stance = Literal["facing", "upright", "lying"]
BLOCK_PX = 4  # away from the silhouette the cushion is smooth enough for faces of this size
FINE_BAND_PX = 8  # this close to it, where the cushion is steep, every pixel has its own
NEAREST = 0.1  # of the base's depth: how close to the camera a bulge may come


def inflated_height(mask: Mask) -> Array:
    """Height (H+1, W+1) in pixels, at the pixel corners, of the cushion over a mask (H, W).

    The square root of f, where laplace(f) = -4 inside and f = 0 on the silhouette: a half ball over a disc.
    Corners outside the mask or on its silhouette are 0; the frame's edge counts as silhouette.
    """
    padded = np.pad(mask, 1)
    inside = padded[:-1, :-1] & padded[:-1, 1:] & padded[1:, :-1] & padded[1:, 1:]
    height = np.zeros(inside.shape)
    if inside.any():
        height[inside] = np.sqrt(np.maximum(_solve_poisson(inside), 0.0))
    return height


def base_depth(view: PhotoView, mask: Mask, distance_m: float, stance: Stance) -> Array:
    """Planar depth (H+1, W+1) in metres, at the pixel corners, of the plane that the cushion is glued to.

    The plane holds the foreground's lowest point at depth `distance_m`; it faces the camera, stands upright
    on the ground or lies on it. inf where a ray does not meet it.
    """
    forward = view.c2w[:3, 2]
    level = np.array([0.0, 1.0, 0.0])
    normal = {"facing": forward, "upright": level, "lying": np.array([0.0, 0.0, 1.0])}[stance]
    contact = view.points((view.width / 2, lowest_row(mask)), distance_m)
    return view.plane_depth(_corners(view), contact, normal)


def inflate(
    rgb: Rgb, mask: Mask, view: PhotoView, base_depth_m: Array, thickness: float, back: Back
) -> TexturedMesh:
    """The cushion over `mask` (H, W) as a closed textured mesh whose front shows `rgb` (H, W, 3).

    Vertices lie on rays through pixel corners, at depth base -/+ height * thickness (metres), so
    that the photo's own view sees every mask pixel on itself. Front and back share the silhouette. back:
    what the far side shows (`back_texture`). Raises ConfigError if the plane is not met or the bulge
    reaches the camera.
    """
    height_px = inflated_height(mask)
    faces = _cushion_faces(mask)
    used = np.unique(faces)
    depth = base_depth_m.ravel()[used]
    if not np.isfinite(depth).all():
        raise ConfigError(
            "the foreground reaches above the horizon but scene.foreground.stance lays it on the ground; "
            "use 'upright' or 'facing'"
        )
    bulge = height_px.ravel()[used] / view.focal_px * depth * thickness
    if (bulge > (1.0 - NEAREST) * depth).any():
        raise ConfigError(
            f"scene.foreground.thickness is {thickness:g}, so the object bulges into the camera; "
            f"use less than {(1.0 - NEAREST) / (bulge / depth).max() * thickness:.2g}"
        )
    corners = _corners(view).reshape(-1, 2)[used]
    index = np.zeros(height_px.size, np.int64)
    index[used] = np.arange(len(used))
    front = index[faces]
    # A back triangle whose corners all lie on the silhouette would coincide with its front.
    apart = (height_px.ravel()[faces] > 0).any(axis=1)
    behind = front[apart][:, ::-1] + len(used)
    half = corners / [2 * view.width, view.height]  # the texture holds the front on the left, the back right
    return TexturedMesh(
        vertices_m=np.concatenate(
            [view.points(corners, depth - bulge), view.points(corners, depth + bulge)]
        ).astype(np.float32),
        faces=np.concatenate([front, behind]),
        uv=np.concatenate([half, half + np.array([0.5, 0.0])]).astype(np.float32),
        texture=np.concatenate([_bleed(rgb, mask), back_texture(rgb, mask, back)], axis=1),
    )


def back_texture(rgb: Rgb, mask: Mask, back: Back) -> Rgb:
    """What the far side shows, (H, W, 3) like the photo: it lies behind the pixel it is stored at.

    mirror: the front's own colours. blurred: those, blurred by a tenth of the object's size. neutral: their
    mean. The last two start from the front's colours at the silhouette, so that no seam shows.
    """
    front = _bleed(rgb, mask)
    if back == "mirror":
        return front
    picture = front.astype(np.float32)
    to_edge = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    if back == "neutral":
        plain = np.broadcast_to(picture[mask].mean(axis=0), picture.shape)
    else:
        sigma = 0.1 * float(np.sqrt(mask.sum()))
        weight = mask.astype(np.float32)[..., None]
        total = cv2.GaussianBlur(picture * weight, (0, 0), sigma)
        plain = total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-6)[..., None]
        plain = np.where(mask[..., None], plain, picture)
    share = np.clip(to_edge / (0.15 * max(float(to_edge.max()), 1.0)), 0.0, 1.0)[..., None]
    return np.clip(np.round(picture + share * (plain - picture)), 0, 255).astype(np.uint8)


def _cushion_faces(mask: Mask) -> npt.NDArray[np.int64]:
    """Triangles over the mask: one cell a pixel near the silhouette, whole blocks inside, without cracks."""
    inner = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    rows, columns = (size // BLOCK_PX for size in mask.shape)
    whole = (inner > FINE_BAND_PX)[: rows * BLOCK_PX, : columns * BLOCK_PX]
    blocks = whole.reshape(rows, BLOCK_PX, columns, BLOCK_PX).all(axis=(1, 3))
    fine = mask.copy()
    fine[: rows * BLOCK_PX, : columns * BLOCK_PX] &= ~np.kron(blocks, np.ones((BLOCK_PX, BLOCK_PX), np.bool_))
    return np.concatenate([grid_faces(fine), stitched_faces(blocks, BLOCK_PX, mask.shape[1])])


def _solve_poisson(inside: npt.NDArray[np.bool_]) -> Array:
    """f at the set nodes of a grid, in their order: five-point laplace(f) = -4, f = 0 at all other nodes."""
    index = np.full(inside.shape, -1, np.int64)
    count = int(inside.sum())
    index[inside] = np.arange(count)
    pairs = [
        np.stack([a.ravel(), b.ravel()])[:, ((a >= 0) & (b >= 0)).ravel()]
        for a, b in ((index[:, :-1], index[:, 1:]), (index[:-1], index[1:]))
    ]
    row, column = np.concatenate(pairs, axis=1)
    neighbours = sparse.coo_matrix((np.ones(len(row)), (row, column)), shape=(count, count))
    matrix = 4.0 * sparse.identity(count) - neighbours - neighbours.T
    factor = linalg.splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    return factor.solve(np.full(count, 4.0))


def _bleed(rgb: Rgb, mask: Mask) -> Rgb:
    """Fills what lies outside the mask with the nearest colour inside: edges then sample no background."""
    outside = (~mask).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    colours[labels[mask]] = rgb[mask]
    return colours[labels]


def _corners(view: PhotoView) -> Array:
    """(H+1, W+1, 2) image coordinates of the pixel corners."""
    x, y = np.meshgrid(np.arange(view.width + 1.0), np.arange(view.height + 1.0))
    return np.stack([x, y], axis=-1)
