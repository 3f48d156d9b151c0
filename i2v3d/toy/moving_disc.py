"""The renders of a made-up shot, for measuring and testing what comes after them without Blender."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from i2v3d.artifacts.render_folder import CoarseFrame, RenderFolder
from i2v3d.artifacts.rendered_cameras import RenderedCameras
from i2v3d.geometry.cameras import intrinsics


def write_moving_disc(folder: Path, frames: int, height: int, width: int) -> None:
    """Writes a render folder: a disc moves over a ramp, with a strip at the left where nothing is seen.

    The camera stands still; the photo's light is as if frame 1 were the photo.
    """
    render = RenderFolder(folder)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for frame in range(1, frames + 1):
        centre = width * (0.3 + 0.4 * frame / frames)
        disc = (rows - height / 2) ** 2 + (columns - centre) ** 2 < (height / 4) ** 2
        seen = (columns >= width / 8) | disc
        depth = np.where(disc, 1.0, 2.0 + rows / height).astype(np.float32)
        rgb = np.stack([columns / width, rows / height, disc.astype(np.float32)], axis=-1)
        flow = None
        if frame < frames:
            flow = np.stack([disc * np.float32(0.4 * width / frames), 0 * rows], axis=-1).astype(np.float32)
        picture = np.round(rgb * 255).astype(np.uint8)
        render.write_lit(frame, picture)
        render.write(
            frame,
            CoarseFrame(
                rgb=picture,
                depth_m=np.where(seen, depth, np.inf).astype(np.float32),
                foreground=disc,
                visible=seen,
                flow_px=flow,
            ),
        )
    render.write_cameras(
        RenderedCameras(
            width=width,
            height=height,
            frames=tuple(range(1, frames + 1)),
            K=np.tile(intrinsics(width, width / 2, height / 2), (frames, 1, 1)),
            w2c=np.tile(np.eye(4), (frames, 1, 1)),
            depth_range_m=(1.0, 3.0),
        )
    )
