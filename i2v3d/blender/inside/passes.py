"""One multilayer EXR of Blender as the passes of one frame: colour, depth, masks, flow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2v3d.artifacts.render_folder import CoarseFrame
from i2v3d.images import read_exr_channels

DATA_LAYER, COLOUR_LAYER = "data", "colour"  # of the multilayer file
FOREGROUND, BACKGROUND = 1, 2  # object index
NOTHING_M = 1e9  # Blender writes 1e10 where no surface is hit

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Passes:
    """The passes of one frame.

    colour: (H, W, 4) linear, premultiplied. depth_m: (H, W) planar, inf where nothing is seen.
    index: (H, W) int, 0 for nothing. flow_px: (H, W, 2) to the next frame, x right, y down, 0 for nothing.
    """

    colour: Float
    depth_m: Float
    index: NDArray[np.int64]
    flow_px: Float

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(H, W): a surface is seen at the pixel's centre."""
        return np.isfinite(self.depth_m)

    @property
    def foreground(self) -> NDArray[np.bool_]:
        """(H, W): the foreground is seen at the pixel's centre."""
        return self.visible & (self.index == FOREGROUND)


def in_metres(passes: Passes, unit_m: float) -> Passes:
    """The passes of a scene one unit of which is `unit_m` metres."""
    return passes if unit_m == 1 else replace(passes, depth_m=passes.depth_m * np.float32(unit_m))


def read_passes(path: Path) -> Passes:
    """Reads the file that Blender wrote for one frame.

    Blender's vector pass holds, per pixel, (previous - here) and (here - next) in pixels with y up, hence
    the flow to the next frame with y down is (-Z, +W).
    """
    channels = read_exr_channels(path)
    colour = np.stack([channels[f"{COLOUR_LAYER}.Combined.{c}"] for c in "RGBA"], axis=-1)
    depth = channels[f"{DATA_LAYER}.Depth.Z"]
    depth_m = np.where(depth < NOTHING_M, depth, np.inf).astype(np.float32)
    flow = np.stack([-channels[f"{DATA_LAYER}.Vector.Z"], channels[f"{DATA_LAYER}.Vector.W"]], axis=-1)
    return Passes(
        colour=colour,
        depth_m=depth_m,
        index=np.rint(channels[f"{DATA_LAYER}.IndexOB.X"]).astype(np.int64),
        flow_px=np.where(np.isfinite(depth_m)[..., None], flow, 0).astype(np.float32),
    )


def coarse_frame(passes: Passes, flow_px: Float | None) -> CoarseFrame:
    """The passes as the render folder keeps them; flow_px None: the last frame has no flow."""
    return CoarseFrame(
        rgb=srgb(unpremultiply(passes.colour)),
        depth_m=passes.depth_m,
        foreground=passes.foreground,
        visible=passes.visible,
        flow_px=flow_px,
    )


def unpremultiply(colour: Float) -> Float:
    """(..., 4) premultiplied RGBA to (..., 3) straight RGB; black where alpha is 0."""
    alpha = colour[..., 3:]
    return np.divide(colour[..., :3], alpha, out=np.zeros_like(colour[..., :3]), where=alpha > 0)


def over_white(colour: Float) -> Float:
    """(..., 4) premultiplied linear RGBA over white: (..., 3) linear RGB."""
    return colour[..., :3] + (1 - colour[..., 3:])


def srgb(linear: Float) -> NDArray[np.uint8]:
    """Linear light in [0, 1] to 8-bit sRGB, rounded. Source: IEC 61966-2-1."""
    value = np.clip(linear.astype(np.float64), 0, 1)
    encoded = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)
