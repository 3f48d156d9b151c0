"""Colours of the toy world: albedo patterns, ground textures, sky, sun with soft shadows, tone curve.

Textures are sums of sines: smooth, free of tables, and equal on every device. Points are in metres, colours
are linear until `tone_curve`. Ray directions are unit vectors. B images, R rays.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from i2v3d.toy.world.light_errors import LightErrors
from i2v3d.toy.world.sampling import Scenes
from i2v3d.toy.world.tracing import Solids, first_hit, occluded, surface_normal

HORIZON_M = 60.0
_SUN_RADIUS = 0.045  # rad; wider than the real sun, for shadows with a visible penumbra
_SUN_RAYS = 4
_FLAT_EXPOSURE = 0.9
_HAZE, _CLEAR_M = 0.055, 6.0  # extinction a metre beyond what is clear
_LIFT_M = 0.004  # of where shadow rays start, along the normal


class Surface(NamedTuple):
    """What B images need for shading; meanings and shapes as in `Scenes`, without the time dimension."""

    palette: torch.Tensor
    pattern: torch.Tensor
    pattern_scale: torch.Tensor
    gloss: torch.Tensor
    ground: torch.Tensor
    ground_albedo: torch.Tensor
    ground_map: torch.Tensor
    sun_direction: torch.Tensor
    sun: torch.Tensor
    zenith: torch.Tensor
    horizon: torch.Tensor
    cloud: torch.Tensor
    cloud_shift: torch.Tensor

    @classmethod
    def of(cls, scenes: Scenes) -> Surface:
        """The shading parameters of scenes."""
        return cls(*(getattr(scenes, name) for name in cls._fields))


class _Seen(NamedTuple):
    """Where rays meet object or ground: reach (B, R) in metres, at most HORIZON_M; point, normal and albedo
    (B, R, 3); on_object, on_ground (B, R) bool, both false in the sky."""

    reach: torch.Tensor
    point: torch.Tensor
    normal: torch.Tensor
    albedo: torch.Tensor
    on_object: torch.Tensor
    on_ground: torch.Tensor


def _mix(first: torch.Tensor, second: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    return first + (second - first) * amount


def _waves(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Smooth mottling in [0, 1] with features about two units wide."""
    one = torch.sin(1.7 * x + 1.3 * torch.sin(0.9 * y + 1.0))
    two = torch.sin(1.9 * y + 1.7 * torch.sin(1.1 * x + 2.0))
    return 0.5 + 0.25 * (one + two)


def _fraction(x: torch.Tensor) -> torch.Tensor:
    return x - torch.floor(x)


def tone_curve(radiance: torch.Tensor) -> torch.Tensor:
    """Linear radiance to sRGB-like display values in [0, 1], highlights compressed."""
    bright = radiance.clamp(min=0.0)
    return (bright / (1 + 0.18 * bright)).clamp(1e-6, 1.0) ** (1 / 2.2)


def flat_colour(albedo: torch.Tensor) -> torch.Tensor:
    """Display values in [0, 1] of surfaces in the coarse render, which knows no light."""
    return tone_curve(albedo * _FLAT_EXPOSURE)


def ground_colour(point: torch.Tensor, distance: torch.Tensor, surface: Surface) -> torch.Tensor:
    """Albedo (B, R, 3) of the ground at `point` (B, R, 2), fading to its mean with `distance` (B, R)."""
    scale, angle, shift_x, shift_y = (column[:, None] for column in surface.ground_map.unbind(1))
    c, s = torch.cos(angle) * scale, torch.sin(angle) * scale
    x = c * point[..., 0] - s * point[..., 1] + shift_x
    y = s * point[..., 0] + c * point[..., 1] + shift_y
    plank = torch.floor(1.6 * y)
    tone = 0.5 + 0.45 * torch.sin(12.9898 * plank)
    seam = torch.where(_fraction(1.6 * y) < 0.06, 0.62, 1.0)
    tile = _fraction((torch.floor(1.2 * x) + torch.floor(1.2 * y)) / 2) * 2
    dash = ((_fraction(0.42 * y) - 0.5).abs() < 0.04) & (_fraction(0.5 * x) < 0.6)
    ripples = 0.5 + 0.35 * torch.sin(7.0 * y + 3.0 * _waves(1.1 * x, 1.1 * y))
    half, one = torch.full_like(x, 0.5), torch.ones_like(x)
    textures = (
        (tone, seam * (0.92 + 0.16 * _waves(1.2 * x + 3 * plank, 9.0 * y)), half),
        (_waves(2.0 * x, 2.0 * y), 0.84 + 0.32 * _waves(6.5 * x, 6.5 * y), half),
        (tile, one, half),
        (ripples, one, half),
        (_waves(1.2 * x, 1.2 * y), one, half),
        (dash.float(), 0.94 + 0.12 * _waves(5.0 * x, 5.0 * y), 0.08 * one),
        ((_fraction(0.9 * x) < 0.5).float(), one, half),
    )
    kind = surface.ground[:, None]
    amount, gain, mean = textures[0]
    for index, (other, other_gain, other_mean) in enumerate(textures[1:], start=1):
        amount = torch.where(kind == index, other, amount)
        gain = torch.where(kind == index, other_gain, gain)
        mean = torch.where(kind == index, other_mean, mean)
    first, second = (surface.ground_albedo[:, None, i] for i in range(2))
    detail = torch.exp(-0.13 * (distance - 3.0).clamp(min=0.0))
    amount, gain = _mix(mean, amount, detail), _mix(one, gain, detail)
    return _mix(first, second, amount[..., None]) * gain[..., None]


def object_colour(rest: torch.Tensor, slot: torch.Tensor, surface: Surface) -> torch.Tensor:
    """Albedo (B, R, 3) at `rest` (B, R, 3), coordinates of the object's rest pose, on colour slots (B, R)."""
    x, y, z = rest.unbind(-1)
    scale, pattern = surface.pattern_scale[:, None], surface.pattern[:, None]
    stripes = _fraction((z + 0.45 * x + 0.25 * y) * scale) < 0.5
    cells = [torch.floor(axis * scale + shift) for axis, shift in ((x, 0.31), (y, 0.5), (z, 0.43))]
    checks = _fraction((cells[0] + cells[1] + cells[2]) / 2) > 0.25
    dots = sum((_fraction(axis * scale + 0.25) - 0.5) ** 2 for axis in (x, y, z)) < 0.17
    inked = torch.where(pattern == 1, stripes, torch.where(pattern == 2, checks, (pattern == 3) & dots))
    slot = torch.where((slot == 0) & inked, 4, slot)
    batch = torch.arange(slot.shape[0], device=slot.device)[:, None]
    return surface.palette[batch, slot]


def sky_colour(direction: torch.Tensor, surface: Surface, *, clouds: bool) -> torch.Tensor:
    """Radiance (B, R, 3) of the sky towards `direction` (B, R, 3)."""
    height = direction[..., 2]
    rise = (1.6 * height + 0.02).clamp(1e-4, 1.0) ** 0.65
    colour = _mix(surface.horizon[:, None], surface.zenith[:, None], rise[..., None])
    if not clouds:
        return colour
    near = 1.5 / (height.clamp(min=0.0) + 0.25)
    shift = surface.cloud_shift[:, None]
    density = _waves(2.2 * near * direction[..., 0] + shift, 2.2 * near * direction[..., 1])
    cover = ((density - 0.45) * 3.0).clamp(0, 1) * 0.75 * surface.cloud[:, None, 3]
    return _mix(colour, surface.cloud[:, None, :3].expand_as(colour), cover[..., None])


def _across(direction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two unit vectors (B, 3) at right angles to unit vectors and to each other."""
    helper = torch.zeros_like(direction)
    helper[:, 0] = 1.0
    across = torch.nn.functional.normalize(torch.linalg.cross(direction, helper), dim=-1)
    return across, torch.linalg.cross(direction, across)


def _sun_rays(direction: torch.Tensor, rays: int, patterns: int) -> list[torch.Tensor]:
    """`_SUN_RAYS` directions (B, R, 3) over the sun's disc, others for every sample of a pixel."""
    across, upward = _across(direction)
    sample = torch.arange(rays, device=direction.device) % patterns
    out = []
    for k in range(_SUN_RAYS):
        number = k * patterns + sample
        radius = _SUN_RADIUS * torch.sqrt((number + 0.5) / (_SUN_RAYS * patterns))
        angle = 2.399963 * number  # the golden angle spreads the points evenly
        u, v = (radius * torch.cos(angle))[:, None], (radius * torch.sin(angle))[:, None]
        out.append(direction[:, None] + u * across[:, None] + v * upward[:, None])
    return out


def shade(
    eye: torch.Tensor,
    rays: torch.Tensor,
    solids: Solids,
    surface: Surface,
    patterns: int,
    errors: LightErrors | None,
) -> torch.Tensor:
    """What unit rays (B, R, 3) from `eye` (B, 3) see: photo, coarse render and object coverage, (B, R, 7).

    patterns: the number of consecutive rays that belong to one pixel; they sample the sun at different
    points. errors: of the estimated light that the coarse render lies in; None leaves it flat.
    """
    seen = _first_seen(eye, rays, solids, surface)
    light, lit, open_sky = _light(seen, solids, surface, patterns)
    sheen = _sheen(rays, seen.normal, lit, surface) * seen.on_object[..., None]
    photo = _hazed(seen.albedo * light + sheen, seen.reach, surface.horizon, _HAZE)
    hit = (seen.on_object | seen.on_ground)[..., None]
    photo = torch.where(hit, photo, sky_colour(rays, surface, clouds=True))
    shown = flat_colour(seen.albedo)
    if errors is not None:
        estimate = tone_curve(_estimated(seen, open_sky, solids, surface, errors))
        shown = torch.where(errors.flat[..., None], shown, estimate)
    coarse = torch.where(hit, shown, tone_curve(sky_colour(rays, surface, clouds=False)))
    return torch.cat([tone_curve(photo), coarse, seen.on_object[..., None].float()], dim=-1)


def _first_seen(eye: torch.Tensor, rays: torch.Tensor, solids: Solids, surface: Surface) -> _Seen:
    """What unit rays (B, R, 3) from `eye` (B, 3) meet first."""
    distance, index = first_hit(eye[:, None], rays, solids)
    down = rays[..., 2]
    ground = torch.where(down < -1e-5, -eye[:, None, 2] / down.clamp(max=-1e-5), 1e9)
    on_object, on_ground = distance < ground, ground < HORIZON_M
    reach = torch.minimum(torch.minimum(distance, ground), torch.full_like(ground, HORIZON_M))
    point = eye[:, None] + reach[..., None] * rays

    batch = torch.arange(index.shape[0], device=index.device)[:, None]
    to_local, to_rest = solids.to_local[batch, index], solids.rest[batch, index]
    local = (to_local[..., :3] * point[..., None, :]).sum(-1) + to_local[..., 3]
    rest = (to_rest[..., :3] * local[..., None, :]).sum(-1) + to_rest[..., 3]
    normal = surface_normal(
        local, to_local, solids.taper[batch, index], solids.is_box[batch, index], solids.is_ball[batch, index]
    )
    up = torch.zeros_like(normal) + torch.tensor([0.0, 0.0, 1.0], device=normal.device)
    normal = torch.where(on_object[..., None], normal, up)

    flat = object_colour(rest, solids.slot[batch, index], surface)
    floor = ground_colour(point[..., :2], reach, surface)
    albedo = torch.where(on_object[..., None], flat, floor)
    return _Seen(reach, point, normal, albedo, on_object, on_ground)


def _light(
    seen: _Seen, solids: Solids, surface: Surface, patterns: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Irradiance (B, R, 3) of what is seen; (B, R): the sunlit part of the sun's disc, and how open its sky is."""
    normal, start = seen.normal, seen.point + _LIFT_M * seen.normal
    rays = _sun_rays(surface.sun_direction, start.shape[1], patterns)
    blocked = torch.stack([occluded(start, ray, solids, 1e8) for ray in rays]).mean(dim=0)
    lit = 1 - blocked
    azimuth = (torch.arange(start.shape[1], device=start.device) % patterns) * (2 * math.pi / patterns) + 0.6
    tilt = 0.75 * torch.stack([torch.cos(azimuth), torch.sin(azimuth), torch.zeros_like(azimuth)], dim=-1)
    open_sky = 1 - 0.62 * occluded(start, normal + tilt, solids, 0.9)
    facing = (normal * surface.sun_direction[:, None]).sum(-1).clamp(min=0.0)
    diffuse = _diffuse(normal, *_around(surface))
    direct = surface.sun[:, None] * (facing * lit)[..., None]
    return diffuse * open_sky[..., None] + direct, lit, open_sky


def _around(surface: Surface) -> tuple[torch.Tensor, torch.Tensor]:
    """Light (B, 3) of the sky, and of the ground that the sun shines on."""
    half = torch.tensor(0.5, device=surface.sun.device)
    ambient = _mix(surface.horizon, surface.zenith, half) * 0.55 + 0.10
    return ambient, surface.ground_albedo.mean(dim=1) * surface.sun


def _diffuse(normal: torch.Tensor, ambient: torch.Tensor, bounce: torch.Tensor) -> torch.Tensor:
    """Irradiance (B, R, 3) from all around."""
    upness = normal[..., 2:]
    return ambient[:, None] * (0.6 + 0.4 * upness) + 0.22 * bounce[:, None] * (0.5 - 0.5 * upness)


def _hazed(
    colour: torch.Tensor, reach: torch.Tensor, air: torch.Tensor, density: float | torch.Tensor
) -> torch.Tensor:
    """Radiance (B, R, 3) behind `reach` metres (B, R) of hazy air of colour (B, 3) and density, a metre, one or (B, 1).

    Source: Koschmieder's law.
    """
    haze = (1 - torch.exp(-density * (reach - _CLEAR_M).clamp(min=0.0)))[..., None]
    return _mix(colour, air[:, None].expand_as(colour), haze)


def _estimated(
    seen: _Seen, open_sky: torch.Tensor, solids: Solids, surface: Surface, errors: LightErrors
) -> torch.Tensor:
    """Radiance (B, R, 3) of what is seen as an estimate from one photo has it: everything a little off, a sun without
    width, whose shadows are hard, and nothing shiny. open_sky (B, R): as `_light` returns it."""
    across, upward = _across(surface.sun_direction)
    tilted = surface.sun_direction + errors.tilt[:, :1] * across + errors.tilt[:, 1:] * upward
    sun = torch.nn.functional.normalize(tilted, dim=-1)[:, None]
    visible = 1 - occluded(seen.point + _LIFT_M * seen.normal, sun, solids, 1e8)
    facing = (seen.normal * sun).sum(-1).clamp(min=0.0)
    ambient, bounce = _around(surface)
    diffuse = _diffuse(seen.normal, errors.ambient * ambient, errors.bounce * bounce)
    direct = (errors.sun * surface.sun)[:, None] * (facing * visible)[..., None]
    light = diffuse * (open_sky**errors.hiding)[..., None] + direct
    gain = torch.where(seen.on_object[..., None], 1.0, errors.ground[:, None])
    air, density = errors.air * surface.horizon, _HAZE * errors.haze
    return _hazed(seen.albedo * light * gain, seen.reach, air, density)


def _sheen(rays: torch.Tensor, normal: torch.Tensor, lit: torch.Tensor, surface: Surface) -> torch.Tensor:
    """Highlight of the sun (B, R, 3)."""
    halfway = torch.nn.functional.normalize(surface.sun_direction[:, None] - rays, dim=-1)
    lobe = (normal * halfway).sum(-1).clamp(min=0.0) ** 24
    return surface.sun[:, None] * (surface.gloss[:, None] * lobe * lit)[..., None]
