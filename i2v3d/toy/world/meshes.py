"""A toy scene as textured triangle meshes: one for each rigid part of the object, the ground, and the sky.

The meshes look as the coarse render does: their textures hold `shading`'s flat colours. What depends on the
eye is baked for the middle frame's: the ground's detail, which fades with distance, and where the ground
ends. World: metres, z up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from i2v3d.errors import ShapeError
from i2v3d.geometry.meshes import TexturedMesh
from i2v3d.toy.world.charts import Array, Chart, extent_m, grid_chart, pack, solid_charts
from i2v3d.toy.world.render import Cameras, cameras, pixel_rays
from i2v3d.toy.world.sampling import Scenes
from i2v3d.toy.world.shading import (
    HORIZON_M,
    Surface,
    flat_colour,
    ground_colour,
    object_colour,
    sky_colour,
    tone_curve,
)
from i2v3d.toy.world.solids import BODY, Bank
from i2v3d.toy.world.tracing import axis_rotation

OVERSAMPLE = 2.0  # texels a pixel, where an object or the ground is nearest
SKY_M = 1000.0  # radius of the sky's dome
SKY_ROWS = 2048  # texels from nadir to zenith
GROUND_CELLS = (64, 128)  # across and along the view: texture coordinates are linear on each
MARGIN_RAD, MARGIN = 0.05, 0.9  # by how much the ground reaches beyond what is seen
Colour = Callable[[Array], torch.Tensor]


@dataclass(frozen=True)
class Part:
    """A rigid part of the object over F frames.

    mesh: in the object's rest pose. A rest point p stands at rotation @ (p - pivot_m) + pivot_m +
    translation_m: pivot_m (3,), rotation (F, 3, 3), translation_m (F, 3).
    """

    name: str
    mesh: TexturedMesh
    pivot_m: Array
    rotation: Array
    translation_m: Array


@dataclass(frozen=True)
class ToyMeshes:
    """Everything that is seen in a clip."""

    parts: tuple[Part, ...]
    ground: TexturedMesh
    sky: TexturedMesh


@dataclass(frozen=True)
class _Patch:
    """A chart in the world, its colour at points (n, 3), and its size in texels."""

    chart: Chart
    colour: Colour
    size: tuple[int, int]


def toy_meshes(scene: Scenes, width: int, height: int) -> ToyMeshes:
    """Meshes of one scene, with textures fine enough for renders of width x height pixels.

    Raises ShapeError if `scene` holds several scenes.
    """
    if scene.size != 1:
        raise ShapeError(f"meshes are made of one scene at a time, got {scene.size}; take rows of them")
    view = cameras(scene, width, height)
    focal_px = float(view.intrinsics[0, 0, 0, 0])
    nearest_m = 0.7 * float((scene.eye - scene.target).norm(dim=-1).min())
    return ToyMeshes(
        object_parts(scene, OVERSAMPLE * focal_px / nearest_m),
        ground_mesh(scene, view, width, height),
        sky_mesh(scene),
    )


# ---------------------------------------------------------------- the object
def object_parts(scene: Scenes, texels_per_m: float) -> tuple[Part, ...]:
    """The parts of the object of one scene: its rigid body, and what turns on each joint."""
    bank = Bank(*(tensor[0] for tensor in scene.objects))
    heading = _rotations([0.0, 0.0, 1.0], scene.heading[0])
    place = scene.place[0].double().numpy()
    parts = []
    for joint in sorted(set(bank.joint[bank.kind >= 0].tolist())):
        mesh = _join(_object_patches(scene, bank, joint, texels_per_m))
        pivot, turn = np.zeros(3), heading
        if joint:
            pivot = bank.pivot[joint - 1].double().numpy()
            turn = heading @ _rotations(bank.axis[joint - 1].tolist(), scene.bend[0, :, joint - 1])
        name = f"joint_{joint}" if joint else "body"
        parts.append(Part(name, mesh, pivot, turn, heading @ pivot + place - pivot))
    return tuple(parts)


def _rotations(axis: Sequence[float], angle: torch.Tensor) -> Array:
    """(F, 3, 3) turns about one axis by angles (F,), in radians."""
    about = torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float64), dim=0)
    turns: Array = np.stack([axis_rotation(about, a).numpy() for a in angle.double()])
    return turns


def _object_patches(scene: Scenes, bank: Bank, joint: int, texels_per_m: float) -> list[_Patch]:
    patches = []
    for number in ((bank.kind >= 0) & (bank.joint == joint)).nonzero().flatten().tolist():
        slot = int(bank.slot[number])
        plain = slot != BODY or int(scene.pattern[0]) == 0
        for chart in solid_charts(int(bank.kind[number]), float(bank.taper[number])):
            placed = Chart(chart.uv, chart.faces, _placed(chart.point, bank, number))
            size = (2, 2) if plain else _texels(extent_m(placed.point), texels_per_m)
            patches.append(_Patch(placed, _object_paint(scene, slot), size))
    return patches


def _placed(local: Callable[[Array], Array], bank: Bank, number: int) -> Callable[[Array], Array]:
    centre, frame = bank.centre[number].double().numpy(), bank.frame[number].double().numpy()
    return lambda uv: local(uv) @ frame.T + centre


def _object_paint(scene: Scenes, slot: int) -> Colour:
    def colour(rest: Array) -> torch.Tensor:
        points = torch.from_numpy(rest).float()[None]
        slots = torch.full(points.shape[:2], slot, dtype=torch.long)
        return flat_colour(object_colour(points, slots, Surface.of(scene)))[0]

    return colour


def _texels(extent: tuple[float, float], texels_per_m: float) -> tuple[int, int]:
    across, down = (max(2, math.ceil(length * texels_per_m) + 1) for length in extent)
    return across, down


# ---------------------------------------------------------------- the surroundings
def ground_mesh(scene: Scenes, view: Cameras, width: int, height: int) -> TexturedMesh:
    """The part of the ground that the cameras see, as far as the horizon.

    Its chart is polar about the point below the middle frame's eye, the radius logarithmic, so that texels
    are about as dense as pixels everywhere.
    """
    eye = scene.eye[0, scene.frames // 2].double().numpy()
    azimuth, (nearest_m, farthest_m) = _seen_sector(scene, view, width, height, eye)
    depth = math.log(farthest_m / nearest_m)

    def point(uv: Array) -> Array:
        angle = azimuth[0] + uv[..., 0] * (azimuth[1] - azimuth[0])
        radius = nearest_m * np.exp(uv[..., 1] * depth)
        level = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1) + eye[:2]
        return np.concatenate([level, np.zeros_like(level[..., :1])], axis=-1)

    def colour(points: Array) -> torch.Tensor:
        distance = torch.from_numpy(np.linalg.norm(points - eye, axis=-1)).float()[None]
        albedo = ground_colour(torch.from_numpy(points[..., :2]).float()[None], distance, Surface.of(scene))
        return flat_colour(albedo)[0]

    # A pixel spans at least 2 / focal of the logarithm of the radius: seen at a slant of 45 degrees.
    texels_per_rad = OVERSAMPLE * float(view.intrinsics[0, 0, 0, 0])
    size = _texels((azimuth[1] - azimuth[0], depth / 2), texels_per_rad)
    return _join([_Patch(grid_chart(*GROUND_CELLS, point), colour, size)])


def _seen_sector(
    scene: Scenes, view: Cameras, width: int, height: int, eye: Array
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Azimuths (rad) and radii (m) about `eye` (3,) of all the ground in view of any frame."""
    rays = torch.nn.functional.normalize(pixel_rays(view, width, height, 1)[0], dim=-1).double()
    eyes = scene.eye[0, :, None].double()
    down = -rays[..., 2:]
    reach = torch.where(down > 0, eyes[..., 2:] / down.clamp(min=1e-6), HORIZON_M).clamp(max=HORIZON_M)
    level = (eyes + reach * rays)[..., :2].reshape(-1, 2).numpy() - eye[:2]
    radius = np.linalg.norm(level, axis=-1)
    middle = math.atan2(*level.mean(axis=0)[::-1])
    turned = np.angle(np.exp(1j * (np.arctan2(level[:, 1], level[:, 0]) - middle)))
    azimuth = (middle + turned.min() - MARGIN_RAD, middle + turned.max() + MARGIN_RAD)
    return azimuth, (MARGIN * float(radius.min()), math.sqrt(HORIZON_M**2 - float(eye[2]) ** 2))


def sky_mesh(scene: Scenes) -> TexturedMesh:
    """A dome about the middle frame's eye, so wide that its parallax is far below a pixel; no clouds, as in
    the coarse render."""
    eye = scene.eye[0, scene.frames // 2].double().numpy()

    def point(uv: Array) -> Array:
        azimuth, height = 2 * math.pi * uv[..., 0], math.pi * (0.5 - uv[..., 1])
        level = np.cos(height)
        ray = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(height)], axis=-1)
        return eye + SKY_M * ray

    def colour(points: Array) -> torch.Tensor:
        rays = torch.from_numpy((points - eye) / SKY_M).float()[None]
        return tone_curve(sky_colour(rays, Surface.of(scene), clouds=False))[0]

    return _join([_Patch(grid_chart(72, 90, point), colour, (2, SKY_ROWS))])


# ---------------------------------------------------------------- one mesh of many patches
def _join(patches: Sequence[_Patch]) -> TexturedMesh:
    """All patches as one mesh with one atlas; triangles without area are left out."""
    slots, width, height = pack([patch.size for patch in patches])
    texture = np.zeros((height, width, 3), np.uint8)
    vertices, uv, faces, count = [], [], [], 0
    for patch, slot in zip(patches, slots, strict=True):
        colour = patch.colour(patch.chart.point(slot.texels()).reshape(-1, 3))
        painted = (colour.clamp(0, 1) * 255).round().byte().numpy().reshape(slot.height, slot.width, 3)
        texture[slot.top : slot.top + slot.height, slot.left : slot.left + slot.width] = painted
        vertices.append(patch.chart.point(patch.chart.uv))
        uv.append(slot.uv(patch.chart.uv, width, height))
        faces.append(_with_area(vertices[-1], patch.chart.faces) + count)
        count += len(vertices[-1])
    return TexturedMesh(
        vertices_m=np.concatenate(vertices).astype(np.float32),
        faces=np.concatenate(faces),
        uv=np.concatenate(uv).astype(np.float32),
        texture=texture,
    )


def _with_area(vertices: Array, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return faces[np.linalg.norm(np.cross(b - a, c - a), axis=-1) > 1e-12]
