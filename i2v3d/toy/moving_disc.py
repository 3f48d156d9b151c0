"""The renders of a made-up shot, for measuring and testing what comes after them without Blender."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from i2v3d.artifacts.folders import frame_name
from i2v3d.images import write_depth, write_flow, write_mask, write_rgb


def write_moving_disc(folder: Path, frames: int, height: int, width: int) -> None:
    """Writes rgb, depth, mask, fg_mask, flow and cameras.json as the render stage does.

    A disc moves over a ramp, with a strip at the left where nothing is seen, before a still camera.
    """
    for name in ("rgb", "depth", "mask", "fg_mask", "flow"):
        (folder / name).mkdir(parents=True)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for frame in range(1, frames + 1):
        centre = width * (0.3 + 0.4 * frame / frames)
        disc = (rows - height / 2) ** 2 + (columns - centre) ** 2 < (height / 4) ** 2
        seen = (columns >= width / 8) | disc
        depth = np.where(disc, 1.0, 2.0 + rows / height).astype(np.float32)
        rgb = np.stack([columns / width, rows / height, disc.astype(np.float32)], axis=-1)
        name = frame_name(frame)
        write_rgb(folder / "rgb" / name, np.round(rgb * 255).astype(np.uint8))
        write_depth(
            folder / "depth" / frame_name(frame, "exr"), np.where(seen, depth, np.inf).astype(np.float32)
        )
        write_mask(folder / "mask" / name, seen)
        write_mask(folder / "fg_mask" / name, disc)
        if frame < frames:
            flow = np.stack([disc * np.float32(0.4 * width / frames), 0 * rows], axis=-1)
            write_flow(folder / "flow" / frame_name(frame, "exr"), flow.astype(np.float32))
    lens = [[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]]
    cameras = {"K": [lens] * frames, "w2c": [np.eye(4).tolist()] * frames, "depth_range_m": [1.0, 3.0]}
    (folder / "cameras.json").write_text(json.dumps(cameras))
