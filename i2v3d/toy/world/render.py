"""Ray traces toy scenes in closed form: photo, coarse render, depth, mask and flow.

Every solid is an affine image of a ball, a cube or a frustum, so the nearest hit is one reduction over the
primitives of a scene. The heavy functions are pure tensor expressions: compile them on a GPU, call them as
they are on a CPU. World: metres, z up. Cameras: OpenCV axes, pixel (i, j) has its centre at (i + 0.5, j +
0.5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import torch

from i2v3d.errors import ConfigError
from i2v3d.toy.world.light_errors import LightErrors, light_errors
from i2v3d.toy.world.sampling import Scenes
from i2v3d.toy.world.shading import HORIZON_M, Surface, shade
from i2v3d.toy.world.tracing import Solids, first_hit, solids_in_world

Coarse = Literal["flat", "lit"]
RAYS_AT_ONCE = 10_000  # of an image, where nothing is compiled: what they need stays in a processor's cache


class Frames(NamedTuple):
    """What the cameras see, N scenes of F frames.

    photo, coarse (N, F, 3, H, W) in [0, 1], sRGB; mask (N, F, 1, H, W) coverage of the object in [0, 1];
    depth (N, F, 1, H, W): planar depth at the pixel centres in metres, inf where nothing is hit.
    """

    photo: torch.Tensor
    coarse: torch.Tensor
    mask: torch.Tensor
    depth: torch.Tensor


class Cameras(NamedTuple):
    """world_to_camera (N, F, 4, 4), OpenCV axes; intrinsics (N, F, 3, 3) in pixels."""

    world_to_camera: torch.Tensor
    intrinsics: torch.Tensor


def cameras(scenes: Scenes, width: int, height: int) -> Cameras:
    """Pinhole cameras that look from `eye` to `target`, world z up in the picture."""
    forward = torch.nn.functional.normalize(scenes.target - scenes.eye, dim=-1)
    up = torch.zeros_like(forward)
    up[..., 2] = 1.0
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], dim=-2)
    pose = torch.eye(4, device=forward.device).repeat(*forward.shape[:2], 1, 1)
    pose[..., :3, :3] = rotation
    pose[..., :3, 3] = -(rotation * scenes.eye[..., None, :]).sum(-1)
    focal = (height / 2) / scenes.half_view
    lens = torch.zeros((*forward.shape[:2], 3, 3), device=forward.device)
    lens[..., 0, 0] = lens[..., 1, 1] = focal[:, None]
    lens[..., 0, 2], lens[..., 1, 2], lens[..., 2, 2] = width / 2, height / 2, 1.0
    return Cameras(pose, lens)


def pixel_rays(view: Cameras, width: int, height: int, samples: int) -> torch.Tensor:
    """Unnormalised ray directions with planar depth 1, (N, F, H * W * samples**2, 3), pixel by pixel."""
    device = view.intrinsics.device
    offsets = (torch.arange(samples, device=device) + 0.5) / samples
    x = (torch.arange(width, device=device)[:, None] + offsets).flatten()
    y = (torch.arange(height, device=device)[:, None] + offsets).flatten()
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
    grid = grid.view(height, samples, width, samples, 2).transpose(1, 2).reshape(-1, 2)
    focal, centre = view.intrinsics[..., :1, 0], view.intrinsics[..., :2, 2]
    local = (grid - centre[..., None, :]) / focal[..., None]
    rotation = view.world_to_camera[..., :3, :3]
    x_axis, y_axis, z_axis = (rotation[..., None, i, :] for i in range(3))
    return local[..., :1] * x_axis + local[..., 1:] * y_axis + z_axis


class Renderer:
    """Renders batches of scenes at one size.

    samples: rays per pixel side of photo, coarse render and mask (2: four rays a pixel). chunk: images
    traced at once; results do not depend on it. compile: fuse the tracing with torch.compile (GPU). coarse: whether
    coarse renders know no light, or lie in what an estimate from one photo would be of its light, hard shadows and
    haze; one scene in six stays flat even so.
    """

    def __init__(
        self, width: int, height: int, *, samples: int, chunk: int, compile: bool, coarse: Coarse
    ) -> None:
        if min(width, height, samples, chunk) < 1:
            raise ConfigError(f"size {width}x{height}, samples {samples} and chunk {chunk} must be positive")
        self.width, self.height, self.samples, self.chunk = width, height, samples, chunk
        self._compiled, self._coarse = compile, coarse
        wrap: Callable[[Callable[..., torch.Tensor]], Callable[..., torch.Tensor]] = (
            torch.compile(dynamic=False) if compile else lambda function: function
        )
        self._shade, self._depth = wrap(_pictures), wrap(_depth)
        pixels = width * height if compile else max(1, RAYS_AT_ONCE // samples**2)
        self._rays = pixels * samples**2  # whole pixels: their samples belong together

    @torch.no_grad()
    def __call__(self, scenes: Scenes) -> Frames:
        """Photo, coarse render, mask and depth of every frame."""
        images = scenes.size * scenes.frames
        flat, view = _flatten(scenes), cameras(scenes, self.width, self.height)
        view = Cameras(view.world_to_camera.flatten(0, 1)[:, None], view.intrinsics.flatten(0, 1)[:, None])

        def part(start: int) -> torch.Tensor:
            # The last chunk is filled up with the last image, so that a compiled function sees one shape.
            index = torch.arange(start, start + self.chunk, device=flat.eye.device).clamp(max=images - 1)
            return self._images(flat.rows(index), Cameras(*(tensor[index] for tensor in view)))[
                : images - start
            ]

        starts = range(0, images, self.chunk)
        whole = torch.cat(
            list(map(part, starts)) if flat.eye.is_cuda else side_by_side(part, starts)
        ).unflatten(0, (scenes.size, scenes.frames))
        return Frames(whole[:, :, :3], whole[:, :, 3:6], whole[:, :, 6:7], whole[:, :, 7:])

    def _images(self, flat: Scenes, view: Cameras) -> torch.Tensor:
        """(B, 8, H, W): photo, coarse, mask, depth."""
        size = (self.height, self.width)
        solids, eye = solids_in_world(flat), flat.eye[:, 0]
        solids = solids if self._compiled else solids.without_absent()
        rays = pixel_rays(view, self.width, self.height, self.samples)[:, 0]
        surface = Surface.of(flat)
        errors = light_errors(surface.cloud_shift) if self._coarse == "lit" else None
        pieces = [
            self._shade(eye, r, solids, surface, self.samples, errors) for r in rays.split(self._rays, dim=1)
        ]
        centres = pixel_rays(view, self.width, self.height, 1)[:, 0]
        depth = torch.cat([self._depth(eye, r, solids) for r in centres.split(self._rays, dim=1)], dim=1)
        pictures = torch.cat(pieces, dim=1).transpose(1, 2).unflatten(2, size)
        return torch.cat([pictures, depth.view(-1, 1, *size)], dim=1)


def _flatten(scenes: Scenes) -> Scenes:
    """Every frame as a scene of one frame."""
    index = torch.arange(scenes.size, device=scenes.eye.device).repeat_interleave(scenes.frames)
    still = scenes.rows(index)
    moving = {
        name: getattr(scenes, name).flatten(0, 1)[:, None]
        for name in ("eye", "target", "place", "heading", "bend")
    }
    return still._replace(**moving)


def _pictures(
    eye: torch.Tensor,
    rays: torch.Tensor,
    solids: Solids,
    surface: Surface,
    samples: int,
    errors: LightErrors | None,
) -> torch.Tensor:
    """(B, pixels, 7): photo, coarse and coverage, averaged over the samples of each pixel."""
    unit = torch.nn.functional.normalize(rays, dim=-1)
    seen = shade(eye, unit, solids, surface, samples * samples, errors)
    return seen.unflatten(1, (-1, samples * samples)).mean(dim=2)


def _depth(eye: torch.Tensor, rays: torch.Tensor, solids: Solids) -> torch.Tensor:
    """(B, rays): planar depth of the nearest of object and ground, inf in the sky."""
    distance, _ = first_hit(eye[:, None], rays, solids)
    down = rays[..., 2]
    ground = torch.where(down < -1e-6, -eye[:, None, 2] / down.clamp(max=-1e-6), math.inf)
    ground = torch.where(ground < HORIZON_M, ground, math.inf)
    return torch.minimum(distance, ground)


def side_by_side(function: Callable[[int], torch.Tensor], items: Sequence[int]) -> list[torch.Tensor]:
    """The results of a function, as many at once as torch has threads, each by one of them.

    Much of what tensors of a cache's size take is no arithmetic, and of that one thread does no more than two.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def coverage(scenes: Scenes, width: int, height: int) -> torch.Tensor:
    """(N, F, H, W) bool: whether the object is what is seen at the centre of each pixel."""
    flat, view = _flatten(scenes), cameras(scenes, width, height)
    view = Cameras(view.world_to_camera.flatten(0, 1)[:, None], view.intrinsics.flatten(0, 1)[:, None])
    seen = []
    for image in range(flat.size):
        row = torch.tensor([image], device=flat.eye.device)
        solids, eye = solids_in_world(flat.rows(row)).without_absent(), flat.eye[row, 0]
        rays = pixel_rays(Cameras(*(tensor[row] for tensor in view)), width, height, 1)[:, 0]
        for piece in rays.split(RAYS_AT_ONCE, dim=1):
            distance, _ = first_hit(eye[:, None], piece, solids)
            seen.append(torch.isfinite(distance) & (distance <= _depth(eye, piece, solids)))
    return torch.cat(seen, dim=1).view(scenes.size, scenes.frames, height, width)


@torch.no_grad()
def flow(scenes: Scenes, width: int, height: int) -> torch.Tensor:
    """Forward flow in pixels, (N, F - 1, 2, H, W), x right, y down, from pixel centres of frame t to t + 1.

    The sky counts as infinitely far. Source of truth for warping tests and temporal metrics.
    """
    flat, view = _flatten(scenes), cameras(scenes, width, height)
    solids, (count, frames) = solids_in_world(flat), (scenes.size, scenes.frames)
    rays = pixel_rays(view, width, height, 1)
    distance, index = first_hit(scenes.eye.flatten(0, 1)[:, None], rays.flatten(0, 1), solids)
    depth = _depth(scenes.eye.flatten(0, 1), rays.flatten(0, 1), solids)
    on_object = torch.isfinite(distance) & (distance <= depth)
    reach = torch.where(torch.isfinite(depth), depth, 1e6)
    here = scenes.eye.flatten(0, 1)[:, None] + reach[..., None] * rays.flatten(0, 1)
    to_local = _rows(solids.to_local, index)
    local = (to_local[..., :3] * here[..., None, :]).sum(-1) + to_local[..., 3]
    following = torch.arange(count * frames, device=here.device).view(count, frames)[:, 1:].flatten()
    current = following - 1
    to_world = _rows(solids.to_world[following], index[current])
    moved = (to_world[..., :3] * local[current][..., None, :]).sum(-1) + to_world[..., 3]
    there = torch.where(on_object[current][..., None], moved, here[current])
    pose = view.world_to_camera.flatten(0, 1)[following][:, None]
    lens = view.intrinsics.flatten(0, 1)[following][:, None]
    seen = (pose[..., :3, :3] * there[..., None, :]).sum(-1) + pose[..., :3, 3]
    pixel = seen[..., :2] / seen[..., 2:] * lens[..., 0, :1] + lens[..., :2, 2]
    x = torch.arange(width, device=here.device) + 0.5
    y = torch.arange(height, device=here.device) + 0.5
    start = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).view(-1, 2)
    shift = (pixel - start).transpose(1, 2).unflatten(2, (height, width))
    return shift.unflatten(0, (count, frames - 1))


def _rows(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """table (B, P, 3, 4) at index (B, R): (B, R, 3, 4)."""
    batch = torch.arange(table.shape[0], device=table.device)[:, None]
    return table[batch, index]
