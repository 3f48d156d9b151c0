"""Where each pixel of a frame is in the next one, from the render's exact flow, depth and cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from i2v3d.errors import ShapeError
from i2v3d.geometry.cameras import Array, invert_pose, pixel_centres
from i2v3d.geometry.checks import check_depths, check_flow, check_masks

DEPTH_TOLERANCE = 0.03  # relative; a point whose depth differs by more is hidden by something else
FAR_M = 1e4  # and two that are both farther away than this are the same
OTHER_SHARE = 0.05  # of what is around a point; more of another kind of surface hides or mixes it
ROUNDING_PX = 1e-3  # outside the frame's outer pixel centres at which a point still counts as inside


def warp_back(pictures: Tensor, flow_px: Tensor) -> Tensor:
    """Each next frame as seen from the frame before: (T - 1, 3, H, W), pixel p from p + flow, bilinear.

    Raises ShapeError as `check_flow`. What comes from outside the frame is its nearest border.
    """
    check_flow(pictures, flow_px)
    return _sampled(pictures[1:], _centres(flow_px) + flow_px)


@dataclass(frozen=True)
class Motion:
    """How the surfaces of T frames move.

    flow_px (T - 1, H, W, 2): where the point at each pixel's centre goes in the next frame, x right, y down. seen
    (T - 1, H, W) bool: it is seen there.
    """

    flow_px: Tensor
    seen: Tensor

    def reversed(self) -> Motion:
        """The motion of the frames in reverse order.

        The flow back to a pixel is that of the points that come to lie around it, weighted bilinearly; it counts as
        seen if at least half a pixel's worth of them does.
        """
        steps = [_flow_back(flow, seen) for flow, seen in zip(self.flow_px, self.seen, strict=True)]
        return Motion(*(torch.stack(parts).flip(0) for parts in zip(*steps, strict=True)))

    def first_shows(self) -> Tensor:
        """(T, H, W) bool: whether what each frame shows at a pixel can be followed back to the first frame, in sight
        all the way."""
        everything = torch.ones(1, *self.seen.shape[-2:]).to(self.flow_px)
        return (self.reversed().carried(everything)[:, 0] > 0.5).flip(0)

    def carried(self, picture: Tensor) -> Tensor:
        """The last frame's picture (C, H, W) as each of the T frames sees it, (T, C, H, W).

        0 where a point is hidden in the last frame, outside it, or hidden on the way there. Raises ShapeError for
        another size than the motion's.
        """
        if picture.shape[-2:] != self.seen.shape[-2:]:
            raise ShapeError(
                f"the picture is {tuple(picture.shape)} but the motion is of frames {tuple(self.seen.shape[-2:])}"
            )
        start, (height, width) = _centres(self.flow_px), picture.shape[-2:]
        carried = [picture]
        for first in reversed(range(len(self.flow_px))):
            place, alive = start, torch.ones_like(self.seen[0])
            for flow, seen in zip(self.flow_px[first:], self.seen[first:], strict=True):
                x, y = place.floor().long().unbind(-1)
                alive = alive & seen[y.clamp(0, height - 1), x.clamp(0, width - 1)]
                place = place + _sampled(flow.permute(2, 0, 1)[None], place[None])[0].permute(1, 2, 0)
            carried.append(_sampled(picture[None], place[None])[0] * alive)
        return torch.stack(carried[::-1])


def _flow_back(flow_px: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """(H, W, 2) and (H, W) bool: the reverse of one step, see `Motion.reversed`."""
    height, width = seen.shape
    place = _centres(flow_px) + flow_px - 0.5
    corner = place.floor()
    part = place - corner
    total, weight = torch.zeros(height * width, 2), torch.zeros(height * width)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = (corner + torch.tensor([right, down])).long().unbind(-1)
        share = (part if right else 1 - part)[..., 0] * (part if down else 1 - part)[..., 1]
        lands = seen & (x >= 0) & (y >= 0) & (x < width) & (y < height)
        index = (y * width + x)[lands]
        weight += torch.bincount(index, share[lands], len(weight))
        for axis in (0, 1):
            total[:, axis] += torch.bincount(index, -flow_px[lands][:, axis] * share[lands], len(weight))
    back = total / weight.clamp(min=1e-6)[:, None]
    return back.view(height, width, 2), (weight >= 0.5).view(height, width)


def _centres(flow_px: Tensor) -> Tensor:
    """(H, W, 2) places of the pixels' centres, of a flow's size and type."""
    height, width = flow_px.shape[-3:-1]
    return torch.from_numpy(pixel_centres(width, height)).to(flow_px)


def _sampled(pictures: Tensor, place_px: Tensor) -> Tensor:
    """Pictures (N, C, H, W) at places (N, H, W, 2), bilinear; outside the frame, its nearest border."""
    size = torch.tensor([pictures.shape[-1], pictures.shape[-2]]).to(place_px)
    grid = place_px * (2 / size) - 1
    return functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


def rendered_motion(
    flow_px: Tensor, depth_m: Tensor, foreground: Tensor, lenses: Array, poses: Array
) -> Motion:
    """The motion of what a render shows; its sky, for which renderers know no flow, turns with the camera.

    Shapes and errors as of `unoccluded`.
    """
    check_flow(depth_m[:, None], flow_px)
    _check_cameras(lenses, poses, len(depth_m))
    steps = [_flow_at_infinity(flow, lenses[t : t + 2], poses[t : t + 2]) for t, flow in enumerate(flow_px)]
    sky = torch.isinf(depth_m[:-1])[..., None]
    flow_px = torch.where(sky, torch.stack(steps), flow_px)
    return Motion(flow_px, unoccluded(flow_px, depth_m, foreground, lenses, poses))


def _flow_at_infinity(flow_px: Tensor, lenses: Array, poses: Array) -> Tensor:
    """(H, W, 2) flow of what is infinitely far, of a flow's size and type; far outside if it ends up behind."""
    height, width = flow_px.shape[:2]
    turn = (poses[1] @ invert_pose(poses[0]))[:3, :3]
    pixels = pixel_centres(width, height)
    there = _rays(lenses[0], width, height) @ (lenses[1] @ turn).T
    ahead = there[..., 2:] > 1e-6
    place = np.where(ahead, there[..., :2] / np.where(ahead, there[..., 2:], 1.0), -2.0 * (width + height))
    return torch.from_numpy(place - pixels).to(flow_px)


def _rays(lens: Array, width: int, height: int) -> Array:
    """(H, W, 3) directions of the pixels' centres in their camera, of planar depth 1."""
    pixels = pixel_centres(width, height)
    return np.concatenate([pixels, np.ones((height, width, 1))], axis=-1) @ np.linalg.inv(lens).T


def _check_cameras(lenses: Array, poses: Array, frames: int) -> None:
    if lenses.shape != (frames, 3, 3) or poses.shape != (frames, 4, 4):
        raise ShapeError(f"cameras are {lenses.shape}, {poses.shape}; {frames} frames need one each")


def unoccluded(flow_px: Tensor, depth_m: Tensor, foreground: Tensor, lenses: Array, poses: Array) -> Tensor:
    """(T - 1, H, W) bool: pixels of each frame whose point is seen in the next frame, too.

    flow_px (T - 1, H, W, 2), depth_m (T, H, W), inf in the sky, foreground (T, H, W) of the render; lenses
    (T, 3, 3), poses (T, 4, 4) world to camera. A pixel counts if its place in the next frame shows the same kind of
    surface (foreground or not) at the depth that its point has there: computed from the cameras for the static
    background; for the foreground, whose own motion the passes do not tell, the depth it had. Between pixels, inverse
    depth is interpolated, which is exact for planes, and 0 in the sky. Raises ShapeError if shapes differ.
    """
    check_depths(depth_m=depth_m)
    check_masks(depth_m[:, None].expand(-1, 3, -1, -1), foreground=foreground)
    check_flow(depth_m[:, None], flow_px)
    _check_cameras(lenses, poses, len(depth_m))
    valid = [
        _seen_next(flow_px[t], depth_m[t : t + 2], foreground[t : t + 2], lenses[t], poses[t : t + 2])
        for t in range(len(flow_px))
    ]
    return torch.stack(valid)


def _seen_next(flow_px: Tensor, depth_m: Tensor, foreground: Tensor, lens: Array, poses: Array) -> Tensor:
    height, width = depth_m.shape[-2:]
    expected = torch.where(foreground[0], depth_m[0], _depth_next(depth_m[0], lens, poses)).reciprocal()
    place = _centres(flow_px) + flow_px
    margin = 0.5 - ROUNDING_PX
    inside = (place >= margin) & (place <= torch.tensor([width, height]) - margin)
    there = torch.stack([depth_m[1].reciprocal(), foreground[1].to(depth_m)])[None]
    inverse_depth, share = _sampled(there, place[None])[0]
    near = (inverse_depth - expected).abs() <= DEPTH_TOLERANCE * expected.abs() + 1 / FAR_M
    same_kind = (share - foreground[0].to(share)).abs() <= OTHER_SHARE
    return inside.all(-1) & near & same_kind


def _depth_next(depth_m: Tensor, lens: Array, poses: Array) -> Tensor:
    """(H, W) depth in the next camera of the points of a frame, as if nothing but the camera moved."""
    height, width = depth_m.shape
    rays = _rays(lens, width, height)
    depth = depth_m.double().numpy()
    points = rays * np.where(np.isfinite(depth), depth, 1.0)[..., None]
    motion = poses[1] @ invert_pose(poses[0])
    following = points @ motion[2, :3] + motion[2, 3]
    return torch.from_numpy(np.where(np.isfinite(depth), following, np.inf)).to(depth_m)
