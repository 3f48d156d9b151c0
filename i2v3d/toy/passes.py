"""The passes of a toy clip in closed form, in the files that the render stage writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from i2v3d.artifacts.render_folder import CoarseFrame, RenderFolder, seen_range_m
from i2v3d.artifacts.rendered_cameras import RenderedCameras
from i2v3d.images import read_mask, write_mask
from i2v3d.toy.world.render import Renderer, cameras, coverage, flow
from i2v3d.toy.world.sampling import Scenes


def write_passes(clip: Scenes, width: int, height: int, samples: int, out: Path) -> None:
    """Writes the render folder of a clip of one scene, without Blender, and exact.

    samples: rays a pixel side of rgb.
    """
    frames = Renderer(width, height, samples=samples, chunk=1, compile=False, coarse="flat")(clip)
    pictures = (frames.coarse[0].permute(0, 2, 3, 1) * 255).round().byte().contiguous().numpy()
    depth_m = frames.depth[0, :, 0].numpy()
    seen = coverage(clip, width, height)[0].numpy()
    shift = flow(clip, width, height)[0].permute(0, 2, 3, 1).contiguous().numpy().astype(np.float32)
    render = RenderFolder(out)
    for at in range(clip.frames):
        passes = CoarseFrame(
            rgb=pictures[at],
            depth_m=depth_m[at],
            foreground=seen[at],
            visible=np.isfinite(depth_m[at]),
            flow_px=shift[at] if at < clip.frames - 1 else None,
        )
        render.write(at + 1, passes)
    view = cameras(clip, width, height)
    render.write_cameras(
        RenderedCameras(
            width=width,
            height=height,
            frames=tuple(range(1, clip.frames + 1)),
            K=view.intrinsics[0].double().numpy(),
            w2c=view.world_to_camera[0].double().numpy(),
            depth_range_m=seen_range_m(depth_m),
        )
    )


def hide_surfaces(render: Path, out: Path) -> None:
    """Copies the passes, with a mask that says that nothing was reconstructed anywhere.

    Sampling then has only depth to go by and starts from noise.
    """
    shutil.copytree(render, out)
    hidden = RenderFolder(out)
    for frame in range(1, hidden.frame_count() + 1):
        file = hidden.file("mask", frame)
        write_mask(file, np.zeros_like(read_mask(file)))
