"""Draws scenes, cameras and motions as batched tensors, on the device of the generator.

Held-out scenes differ from training ones twice: by the combination of shape, colours, pattern and ground,
and by the variant of the shape. Both are decided by fixed arithmetic, so no seed can mix them.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch

from i2v3d.errors import ConfigError
from i2v3d.toy.world.catalogue import COLOURS, GROUNDS, PATTERNS, SHAPES, SKIES
from i2v3d.toy.world.solids import BODY, JOINTS, Bank

Split = Literal["train", "held_out"]
HELD_OUT_VARIANTS = 32  # the last variants of every shape in the bank
_COMBINATIONS, _SHAPE, _COLOUR, _SECOND, _PATTERN, _GROUND = 12, 1, 3, 5, 5, 7


class Scenes(NamedTuple):
    """N scenes of F frames. Lengths in metres, angles in radians, z up, the ground is z = 0.

    objects: Bank (N, ...). shape, pattern, ground, sky (N,) and colours (N, 3: body, second, accent):
    catalogue indices. palette (N, 5, 3): albedo of the slots body, accent, dark, light and of the pattern's
    second colour. pattern_scale, gloss (N,). ground_albedo (N, 2, 3), ground_map (N, 4): scale, angle,
    shift x, shift y. sun_direction (N, 3) towards the sun; sun, zenith, horizon (N, 3) radiance; cloud (N,
    4): radiance, amount; cloud_shift (N,). eye, target (N, F, 3); half_view (N,): tangent of half the
    vertical field of view. place (N, F, 3), heading (N, F), bend (N, F, J): object pose and joint angles.
    """

    objects: Bank
    shape: torch.Tensor
    colours: torch.Tensor
    pattern: torch.Tensor
    ground: torch.Tensor
    sky: torch.Tensor
    palette: torch.Tensor
    pattern_scale: torch.Tensor
    gloss: torch.Tensor
    ground_albedo: torch.Tensor
    ground_map: torch.Tensor
    sun_direction: torch.Tensor
    sun: torch.Tensor
    zenith: torch.Tensor
    horizon: torch.Tensor
    cloud: torch.Tensor
    cloud_shift: torch.Tensor
    eye: torch.Tensor
    target: torch.Tensor
    half_view: torch.Tensor
    place: torch.Tensor
    heading: torch.Tensor
    bend: torch.Tensor

    def to(self, device: torch.device | str) -> Scenes:
        """The same scenes on another device."""
        return Scenes(self.objects.to(device), *(tensor.to(device) for tensor in self[1:]))

    def rows(self, index: slice | torch.Tensor) -> Scenes:
        """Some of the scenes."""
        first = Bank(*(tensor[index] for tensor in self.objects))
        return Scenes(first, *(tensor[index] for tensor in self[1:]))

    @property
    def azimuth(self) -> torch.Tensor:
        """Direction of the camera from its target, about the vertical, (N, F)."""
        offset = self.eye - self.target
        return torch.atan2(offset[..., 1], offset[..., 0])

    @property
    def size(self) -> int:
        """N."""
        return int(self.shape.shape[0])

    @property
    def frames(self) -> int:
        """F."""
        return int(self.eye.shape[1])


class _Dice:
    """Uniform numbers and choices from one generator."""

    def __init__(self, generator: torch.Generator, count: int) -> None:
        self.generator, self.count, self.device = generator, count, generator.device

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        drawn = torch.rand((self.count, *shape), generator=self.generator, device=self.device)
        return low + (high - low) * drawn

    def choice(self, options: int) -> torch.Tensor:
        return torch.randint(options, (self.count,), generator=self.generator, device=self.device)

    def sign(self) -> torch.Tensor:
        return self.choice(2) * 2.0 - 1.0

    def chance(self, probability: float) -> torch.Tensor:
        return (self.uniform(0.0, 1.0) < probability).float()


def is_held_out(scenes: Scenes) -> torch.Tensor:
    """(N,) bool: whether the combination of each scene belongs to the held-out split."""
    return _combination(scenes.shape, scenes.colours, scenes.pattern, scenes.ground) == 0


def _combination(
    shape: torch.Tensor, colours: torch.Tensor, pattern: torch.Tensor, ground: torch.Tensor
) -> torch.Tensor:
    first, second = colours[:, 0], colours[:, 1] * (pattern > 0)
    key = _SHAPE * shape + _COLOUR * first + _SECOND * second + _PATTERN * pattern + _GROUND * ground
    return key % _COMBINATIONS


def _choices(dice: _Dice, split: Split) -> tuple[torch.Tensor, ...]:
    """Shape, colours, pattern, ground: redrawn until every scene belongs to the split."""
    wanted = split == "held_out"
    columns = [torch.zeros(dice.count, dtype=torch.long, device=dice.device) for _ in range(6)]
    pending = torch.ones(dice.count, dtype=torch.bool, device=dice.device)
    while bool(pending.any()):
        first = dice.choice(len(COLOURS))
        second = (first + 1 + dice.choice(len(COLOURS) - 1)) % len(COLOURS)
        drawn = [
            dice.choice(len(SHAPES)), first, second, dice.choice(len(COLOURS)),
            dice.choice(len(PATTERNS)), dice.choice(len(GROUNDS)),
        ]  # fmt: skip
        columns = [torch.where(pending, new, old) for new, old in zip(drawn, columns, strict=True)]
        key = _combination(columns[0], torch.stack(columns[1:4], 1), columns[4], columns[5])
        pending = (key == 0) != wanted
    return columns[0], torch.stack(columns[1:4], dim=1), columns[4], columns[5]


def _appearance(dice: _Dice, colours: torch.Tensor, pattern: torch.Tensor) -> dict[str, torch.Tensor]:
    """Palette, pattern scale and gloss."""
    albedo = torch.tensor(list(COLOURS.values()), device=dice.device)

    def jitter(colour: torch.Tensor, amount: float) -> torch.Tensor:
        return (colour * (1 + dice.uniform(-amount, amount, 3))).clamp(0.02, 0.95)

    dark = torch.where(
        dice.chance(0.7)[:, None] > 0,
        torch.tensor([0.05, 0.05, 0.055], device=dice.device),
        torch.tensor([0.28, 0.15, 0.07], device=dice.device),
    )
    light = torch.where(
        dice.chance(0.7)[:, None] > 0,
        torch.tensor([0.78, 0.76, 0.70], device=dice.device),
        torch.tensor([0.76, 0.60, 0.18], device=dice.device),
    )
    slots = [albedo[colours[:, 0]], albedo[colours[:, 2]], dark, light, albedo[colours[:, 1]]]
    assert BODY == 0
    shine = dice.uniform(0.0, 1.0)
    return {
        "palette": torch.stack([jitter(slot, 0.1) for slot in slots], dim=1),
        "pattern_scale": dice.uniform(2.3, 3.4) * (pattern > 0),
        "gloss": 0.5 * shine * shine,
    }


def _surroundings(dice: _Dice, ground: torch.Tensor, sky: torch.Tensor) -> dict[str, torch.Tensor]:
    """Ground texture, sky and sun."""

    def table(rows: list[Any]) -> torch.Tensor:
        return torch.tensor(rows, device=dice.device)

    grounds = table([[g.first, g.second] for g in GROUNDS])[ground]
    clouds = table([(*(s.cloud or (0.0, 0.0, 0.0)), float(s.cloud is not None)) for s in SKIES])[sky]
    azimuth, height = dice.uniform(0, 2 * math.pi), torch.deg2rad(dice.uniform(30, 62))
    level = torch.cos(height)
    return {
        "ground_albedo": (grounds * (1 + dice.uniform(-0.08, 0.08, 2, 3))).clamp(0.02, 0.95),
        "ground_map": torch.stack(
            [
                dice.uniform(0.8, 1.15),
                dice.uniform(0, 2 * math.pi),
                dice.uniform(-20, 20),
                dice.uniform(-20, 20),
            ],
            dim=1,
        ),
        "sun_direction": torch.stack(
            [level * torch.cos(azimuth), level * torch.sin(azimuth), torch.sin(height)], 1
        ),
        "sun": table([s.sun for s in SKIES])[sky] * dice.uniform(0.92, 1.1, 1),
        "zenith": table([s.zenith for s in SKIES])[sky],
        "horizon": table([s.horizon for s in SKIES])[sky],
        "cloud": clouds,
        "cloud_shift": dice.uniform(0, 50),
    }


def _time(dice: _Dice, frames: int) -> torch.Tensor:
    """(N, F) progress in [-0.5, 0.5], linear or eased; 0 for a single frame."""
    if frames == 1:
        return torch.zeros((dice.count, 1), device=dice.device)
    line = torch.linspace(0, 1, frames, device=dice.device)
    eased = line * line * (3 - 2 * line)
    return torch.where(dice.chance(0.4)[:, None] > 0, eased, line) - 0.5


def _motion(dice: _Dice, frames: int, objects: Bank, pace: float) -> dict[str, torch.Tensor]:
    """Camera and object over time: orbit, dolly, translation, rotation, joints, each with its own chance."""
    time = pace * _time(dice, frames)

    def sweep(chance: float, low: float, high: float) -> torch.Tensor:
        return (dice.chance(chance) * dice.sign() * dice.uniform(low, high))[:, None] * time

    tall = 0.5 * (objects.centre[..., 2] + objects.frame[..., 2, :].norm(dim=-1)).amax(dim=1)
    azimuth = dice.uniform(0, 2 * math.pi)[:, None] + sweep(0.6, math.radians(3), math.radians(22))
    raised = torch.deg2rad(dice.uniform(6, 32))[:, None] + sweep(0.3, 0.02, math.radians(6))
    raised = raised.clamp(math.radians(4), math.radians(36))
    distance = dice.uniform(3.0, 4.2)[:, None] * torch.exp(sweep(0.35, 0.03, 0.2))
    level = torch.cos(raised)
    offset = torch.stack([level * torch.cos(azimuth), level * torch.sin(azimuth), torch.sin(raised)], dim=-1)
    aim = torch.stack(
        [dice.uniform(-0.22, 0.22), dice.uniform(-0.22, 0.22), tall * dice.uniform(0.85, 1.1)], 1
    )
    target = aim[:, None, :].expand(-1, frames, -1)
    way = dice.uniform(0, 2 * math.pi)[:, None]
    travel = sweep(0.45, 0.05, 0.5)
    place = torch.stack([travel * torch.cos(way), travel * torch.sin(way), torch.zeros_like(travel)], dim=-1)
    bent = dice.uniform(-1, 1, 1, JOINTS) * 0.4
    swing = torch.stack([sweep(0.5, 0.2, 0.9) for _ in range(JOINTS)], dim=-1)
    return {
        "eye": target + distance[..., None] * offset,
        "target": target.contiguous(),
        "half_view": torch.tan(torch.deg2rad(dice.uniform(31, 36)) / 2),
        "place": place,
        "heading": dice.uniform(0, 2 * math.pi)[:, None] + sweep(0.45, math.radians(4), math.radians(32)),
        "bend": (bent + swing).clamp(-1, 1) * objects.reach[:, None, :],
    }


def sample(
    count: int, frames: int, bank: Bank, generator: torch.Generator, split: Split, pace: float = 1.0
) -> Scenes:
    """`count` scenes of `frames` frames (1: stills), on the device of `generator`.

    bank: `build_bank` output, on any device. Motions are small enough for one video segment: at most 22
    degrees of orbit, 32 of rotation and half a metre of travel. pace: how many times as far everything moves
    over the frames. Raises ConfigError if the bank is too small to be split.
    """
    variants = bank.kind.shape[1]
    if variants <= HELD_OUT_VARIANTS:
        raise ConfigError(
            f"the bank holds {variants} variants a shape but {HELD_OUT_VARIANTS} are held out; build more"
        )
    dice = _Dice(generator, count)
    shape, colours, pattern, ground = _choices(dice, split)
    kept = variants - HELD_OUT_VARIANTS
    variant = dice.choice(kept) if split == "train" else kept + dice.choice(HELD_OUT_VARIANTS)
    objects = bank.to(dice.device).select(shape, variant)
    sky = dice.choice(len(SKIES))
    return Scenes(
        objects=objects,
        shape=shape,
        colours=colours,
        pattern=pattern,
        ground=ground,
        sky=sky,
        **_appearance(dice, colours, pattern),
        **_surroundings(dice, ground, sky),
        **_motion(dice, frames, objects, pace),
    )


def captions(scenes: Scenes) -> list[str]:
    """What each scene shows: 'red car with blue parts on snow under cloudy sky'."""
    return [f"{subject} on {ground} under {sky}" for subject, ground, sky in caption_parts(scenes)]


def caption_parts(scenes: Scenes) -> list[tuple[str, str, str]]:
    """(object, ground, sky) phrases of each scene."""
    names = list(COLOURS)
    table = torch.stack(
        [scenes.shape, *scenes.colours.unbind(1), scenes.pattern, scenes.ground, scenes.sky], dim=1
    )
    parts = []
    for shape, first, second, accent, pattern, ground, sky in table.tolist():
        coat = names[first] if pattern == 0 else f"{names[first]} and {names[second]} {PATTERNS[pattern]}"
        subject = f"{coat} {SHAPES[shape]} with {names[accent]} parts"
        parts.append((subject, GROUNDS[ground].words, SKIES[sky].words))
    return parts
