"""The passes of a toy clip in closed form, in the files that the render stage writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from i2v3d.artifacts.folders import frame_name
from i2v3d.images import read_mask, write_depth, write_flow, write_mask, write_rgb
from i2v3d.toy.world.render import Renderer, cameras, coverage, flow
from i2v3d.toy.world.sampling import Scenes


def write_passes(clip: Scenes, width: int, height: int, samples: int, out: Path) -> None:
    """Writes rgb, depth, fg_mask, mask, flow and cameras.json of a clip of one scene.

    Without Blender, and exact. samples: rays a pixel side of rgb.
    """
    frames = Renderer(width, height, samples=samples, chunk=1, compile=False)(clip)
    pictures = (frames.coarse[0].permute(0, 2, 3, 1) * 255).round().byte().contiguous().numpy()
    depth_m = frames.depth[0, :, 0].numpy()
    seen = coverage(clip, width, height)[0].numpy()
    shift = flow(clip, width, height)[0].permute(0, 2, 3, 1).contiguous().numpy().astype(np.float32)
    for name in ("rgb", "depth", "fg_mask", "mask", "flow"):
        (out / name).mkdir(parents=True)
    for at in range(clip.frames):
        png, exr = frame_name(at + 1), frame_name(at + 1, "exr")
        surface = np.isfinite(depth_m[at])
        write_rgb(out / "rgb" / png, pictures[at])
        write_depth(out / "depth" / exr, depth_m[at])
        write_mask(out / "fg_mask" / png, seen[at])
        write_mask(out / "mask" / png, surface)
        if at < clip.frames - 1:
            write_flow(out / "flow" / exr, shift[at])
    view = cameras(clip, width, height)
    there = depth_m[np.isfinite(depth_m)]
    data = {
        "K": view.intrinsics[0].tolist(),
        "w2c": view.world_to_camera[0].tolist(),
        "depth_range_m": [float(there.min()), float(there.max())],
    }
    (out / "cameras.json").write_text(json.dumps(data) + "\n")


def hide_surfaces(render: Path, out: Path) -> None:
    """Copies the passes, with a mask that says that nothing was reconstructed anywhere.

    Sampling then has only depth to go by and starts from noise.
    """
    shutil.copytree(render, out)
    for path in sorted((out / "mask").iterdir()):
        write_mask(path, np.zeros_like(read_mask(path)))
