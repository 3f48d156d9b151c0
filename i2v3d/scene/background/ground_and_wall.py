"""A background mesh from one photo: the plate on a level ground that ends at an upright wall."""

from __future__ import annotations

import numpy as np

from i2v3d.errors import ConfigError
from i2v3d.geometry.cameras import Array
from i2v3d.geometry.meshes import TexturedMesh, grid_faces
from i2v3d.images import Rgb
from i2v3d.scene.photo.view import PhotoView

CELL_PX = 4  # the texture lies flat on each cell; at this size it is off by hundredths of a pixel
Z_UP = np.array([0.0, 0.0, 1.0])
Y_FORWARD = np.array([0.0, 1.0, 0.0])


def ground_and_wall(
    plate: Rgb, view: PhotoView, pad_x: int, pad_y: int, wall_distance_m: float
) -> TexturedMesh:
    """The padded plate (H + 2 pad_y, W + 2 pad_x, 3) on the ground z = 0 and a wall at y = `wall_distance_m`.

    Vertices lie on the rays of the photo's view, whichever of the two is hit first, with a row along the
    edge where they meet. Raises ConfigError if some ray hits neither, which a steep camera with a wide
    padding can cause.
    """
    height, width = plate.shape[:2]
    columns = _grid_lines(width) - pad_x
    rows = _with_row(_grid_lines(height) - pad_y, wall_foot_px(view, wall_distance_m))
    x, y = np.meshgrid(columns, rows)
    corners = np.stack([x, y], axis=-1)
    depth = surface_depth(view, corners, wall_distance_m)
    if not np.isfinite(depth).all():
        raise ConfigError(
            f"with scene.background.horizon at {view.horizon_px / view.height:.2f} of the frame some of the "
            "padded plate shows neither ground nor wall; use a smaller scene.background.pad"
        )
    return TexturedMesh(
        vertices_m=view.points(corners, depth).reshape(-1, 3).astype(np.float32),
        faces=grid_faces(np.ones((len(rows) - 1, len(columns) - 1), np.bool_)),
        uv=((corners + np.array([pad_x, pad_y])) / [width, height]).reshape(-1, 2).astype(np.float32),
        texture=plate,
    )


def surface_depth(view: PhotoView, pixels: Array, wall_distance_m: float) -> Array:
    """Planar depth (...) in metres of the nearer of ground and wall at image coordinates (..., 2)."""
    ground = view.plane_depth(pixels, np.zeros(3), Z_UP)
    wall = view.plane_depth(pixels, wall_distance_m * Y_FORWARD, Y_FORWARD)
    return np.minimum(ground, wall)


def wall_foot_px(view: PhotoView, wall_distance_m: float) -> float:
    """The image row, in pixels, of the level edge between ground and wall; it may lie outside the frame."""
    pitch = np.radians(view.pitch_deg)
    down = np.arctan2(view.camera_height_m, wall_distance_m) + pitch  # below the optical axis
    return float(view.height / 2 + view.focal_px * np.tan(np.clip(down, -1.5, 1.5)))


def _grid_lines(size_px: int) -> Array:
    """Image coordinates of the grid lines over `size_px` pixels, both ends included."""
    return np.append(np.arange(0.0, size_px, CELL_PX), float(size_px))


def _with_row(rows: Array, extra: float) -> Array:
    """Adds a grid line at `extra` if it lies within the grid and not on a line already."""
    if not rows[0] < extra < rows[-1] or np.abs(rows - extra).min() < 1e-3:
        return rows
    return np.sort(np.append(rows, extra))
