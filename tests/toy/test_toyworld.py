"""The toy world: solids in closed form, cameras, flow, the held-out split."""

from __future__ import annotations

import math

import pytest
import torch

from i2v3d.errors import ConfigError
from i2v3d.toy.world import render, shading
from i2v3d.toy.world.catalogue import SHAPES, vocabulary
from i2v3d.toy.world.light_errors import LightErrors, light_errors
from i2v3d.toy.world.render import Renderer, cameras, flow, pixel_rays
from i2v3d.toy.world.sampling import HELD_OUT_VARIANTS, Scenes, captions, is_held_out, sample
from i2v3d.toy.world.shapes import build_bank
from i2v3d.toy.world.solids import BOX, ELLIPSOID, FRUSTUM, Bank
from i2v3d.toy.world.tracing import (
    Solids,
    axis_rotation,
    first_hit,
    inverse3,
    occluded,
    solids_in_world,
    surface_normal,
)

WIDTH, HEIGHT = 48, 32


@pytest.fixture(scope="module")
def bank() -> Bank:
    return build_bank(HELD_OUT_VARIANTS + 8, seed=5)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _solid(kind: int, taper: float = 0.0, scale: float = 1.0) -> Solids:
    """One solid at the origin."""
    there = torch.cat([scale * torch.eye(3), torch.zeros(3, 1)], dim=1)[None, None]
    back = torch.cat([torch.eye(3) / scale, torch.zeros(3, 1)], dim=1)[None, None]
    yes = torch.ones(1, 1, dtype=torch.bool)
    return Solids(
        back, there, torch.full((1, 1), taper), yes, yes & (kind == BOX), yes & (kind == ELLIPSOID),
        torch.zeros(1, 1, dtype=torch.long), there,
    )  # fmt: skip


def _shoot(solids: Solids, origin: tuple[float, ...], direction: tuple[float, ...]) -> float:
    distance, _ = first_hit(torch.tensor([[origin]]), torch.tensor([[direction]]), solids)
    return float(distance)


@pytest.mark.parametrize(
    ("kind", "taper", "origin", "direction", "distance"),
    [
        (ELLIPSOID, 0.0, (-5.0, 0.0, 0.0), (1.0, 0.0, 0.0), 4.0),
        (ELLIPSOID, 0.0, (-5.0, 0.6, 0.0), (1.0, 0.0, 0.0), 5.0 - 0.8),
        (ELLIPSOID, 0.0, (-5.0, 1.1, 0.0), (1.0, 0.0, 0.0), math.inf),
        (BOX, 0.0, (0.9, -4.0, 0.9), (0.0, 1.0, 0.0), 3.0),
        (BOX, 0.0, (0.0, 0.0, 4.0), (0.0, 0.0, 1.0), math.inf),
        (FRUSTUM, 0.5, (-5.0, 0.0, 0.5), (1.0, 0.0, 0.0), 5.0 - 1.25),
        (FRUSTUM, 0.5, (1.4, 0.0, 4.0), (0.0, 0.0, -1.0), 3.0),
        (FRUSTUM, 0.5, (1.4, 0.0, -4.0), (0.0, 0.0, 1.0), 4.0 + 0.8),
        (FRUSTUM, -1.0, (0.5, 0.0, 4.0), (0.0, 0.0, -1.0), 4.0 - 0.5),
        (FRUSTUM, 0.5, (-5.0, 0.0, 1.2), (1.0, 0.0, 0.0), math.inf),
    ],
)
def test_rays_meet_solids_where_geometry_says(
    kind: int,
    taper: float,
    origin: tuple[float, ...],
    direction: tuple[float, ...],
    distance: float,
) -> None:
    assert _shoot(_solid(kind, taper), origin, direction) == pytest.approx(distance, abs=1e-4)


def test_distance_is_in_units_of_the_direction() -> None:
    assert _shoot(_solid(ELLIPSOID, scale=2.0), (-6.0, 0.0, 0.0), (0.5, 0.0, 0.0)) == pytest.approx(8.0)


def test_a_solid_behind_or_beyond_the_limit_casts_no_shadow() -> None:
    solids, origin = _solid(ELLIPSOID), torch.tensor([[[-5.0, 0.0, 0.0]]])
    ahead, away = torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([[[-1.0, 0.0, 0.0]]])
    assert float(occluded(origin, ahead, solids, 10.0)) == 1
    assert float(occluded(origin, ahead, solids, 3.0)) == 0
    assert float(occluded(origin, away, solids, 10.0)) == 0


def test_normals_point_outwards() -> None:
    points = torch.tensor([[0.6, 0.0, 0.8], [1.0, 0.2, 0.3], [0.1, 0.2, 1.0], [1.2, 0.0, 0.4]])
    kinds = torch.tensor([ELLIPSOID, BOX, FRUSTUM, FRUSTUM])
    taper = torch.tensor([0.0, 0.0, 0.5, 0.5])
    normals = surface_normal(points, torch.eye(3).expand(4, 3, 3), taper, kinds == BOX, kinds == ELLIPSOID)
    slope = torch.nn.functional.normalize(torch.tensor([1.0, 0.0, -0.5]), dim=0)
    expected = torch.stack([points[0], torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0]), slope])
    assert torch.allclose(normals, expected, atol=1e-5)


def test_small_linear_algebra() -> None:
    matrix = torch.randn(5, 3, 3, generator=_seeded(0))
    assert torch.allclose(inverse3(matrix) @ matrix, torch.eye(3).expand(5, 3, 3), atol=1e-4)
    quarter = axis_rotation(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(math.pi / 2))
    assert torch.allclose(quarter @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]), atol=1e-6)


def test_cameras_look_at_their_target(bank: Bank) -> None:
    scenes = sample(6, 3, bank, _seeded(1), "train")
    view = cameras(scenes, WIDTH, HEIGHT)
    rotation = view.world_to_camera[..., :3, :3]
    assert torch.allclose(rotation @ rotation.transpose(-1, -2), torch.eye(3).expand_as(rotation), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(6, 3), atol=1e-5)
    seen = (rotation @ scenes.target[..., None])[..., 0] + view.world_to_camera[..., :3, 3]
    assert torch.allclose(seen[..., :2], torch.zeros(6, 3, 2), atol=1e-5)
    assert bool((seen[..., 2] > 0).all())
    above = (rotation @ torch.tensor([0.0, 0.0, 1.0]))[..., 1]
    assert bool((above < 0).all()), "world up must be up in the picture, camera y points down"


def test_depth_of_the_ground_is_that_of_a_plane(bank: Bank) -> None:
    scenes = sample(4, 1, bank, _seeded(2), "train")
    far = scenes._replace(place=scenes.place + torch.tensor([0.0, 0.0, -50.0]))
    frames = Renderer(WIDTH, HEIGHT, samples=1, chunk=4, compile=False, coarse="flat")(far)
    assert float(frames.mask.max()) == 0, "an object under the ground is hidden by it"
    rays = pixel_rays(cameras(far, WIDTH, HEIGHT), WIDTH, HEIGHT, 1)[:, 0]
    plane = -far.eye[:, 0, 2:] / rays[..., 2]
    hit = torch.isfinite(frames.depth.flatten(1))
    assert torch.allclose(frames.depth.flatten(1)[hit], plane[hit], rtol=1e-4)
    assert bool((rays[..., 2][~hit] > -0.1).all())


def test_every_shape_is_seen_above_the_ground(bank: Bank) -> None:
    scenes = sample(len(SHAPES), 1, bank, _seeded(3), "train")
    every = torch.arange(len(SHAPES))
    scenes = scenes._replace(objects=bank.select(every, torch.zeros_like(every)), shape=every)
    frames = Renderer(WIDTH, HEIGHT, samples=1, chunk=6, compile=False, coarse="flat")(scenes)
    covered = frames.mask.mean((1, 2, 3, 4))
    assert bool((covered > 0.02).all()) and bool((covered < 0.6).all())
    for image in (frames.photo, frames.coarse):
        assert bool(((image >= 0) & (image <= 1)).all())
    lowest = (bank.centre[..., 2] - bank.frame[..., 2, :].abs().sum(-1)).masked_fill(bank.kind < 0, 0.0)
    assert float(lowest.min()) > -0.12, "objects stand on the ground, not in it"


def test_pictures_do_not_depend_on_the_chunk(bank: Bank) -> None:
    scenes = sample(3, 1, bank, _seeded(4), "train")
    one, two = (
        Renderer(WIDTH, HEIGHT, samples=1, chunk=n, compile=False, coarse="flat")(scenes) for n in (1, 2)
    )
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, two, strict=True))


def test_light_and_shadow_are_in_the_photo_only(bank: Bank) -> None:
    scenes = sample(3, 1, bank, _seeded(5), "train")
    renderer = Renderer(WIDTH, HEIGHT, samples=1, chunk=3, compile=False, coarse="flat")
    lit, dark = renderer(scenes), renderer(scenes._replace(sun=torch.zeros_like(scenes.sun)))
    assert torch.equal(lit.coarse, dark.coarse)
    assert not torch.allclose(lit.photo, dark.photo, atol=0.05)


def _rendered(scenes: Scenes, coarse: render.Coarse, chunk: int = 5) -> render.Frames:
    return Renderer(WIDTH, HEIGHT, samples=1, chunk=chunk, compile=False, coarse=coarse)(scenes)


def _misjudge(monkeypatch: pytest.MonkeyPatch, **errors: float) -> None:
    """Errors of the estimated light: none but these, equal in all scenes."""
    sizes = dict(zip(LightErrors._fields, (2, 3, 3, 3, 3, 1, 1, 3, 1), strict=True))
    given = {name: float(name not in ("tilt", "flat")) for name in sizes} | errors

    def same(seed: torch.Tensor) -> LightErrors:
        columns = {name: torch.full((len(seed), n), given[name]) for name, n in sizes.items()}
        return LightErrors(**columns | {"flat": columns["flat"] > 0})

    monkeypatch.setattr(render, "light_errors", same)


def test_lit_coarse_renders_lie_in_a_light_of_their_scene_and_some_in_none(bank: Bank) -> None:
    scenes = sample(16, 2, bank, _seeded(12), "held_out")
    flat, lit = _rendered(scenes, "flat"), _rendered(scenes, "lit")
    for name in ("photo", "mask", "depth"):
        assert torch.equal(getattr(flat, name), getattr(lit, name)), name
    sky = torch.isinf(flat.depth).expand_as(flat.coarse)
    assert bool(sky.any()) and torch.equal(lit.coarse[sky], flat.coarse[sky])
    alone = _rendered(scenes.rows(slice(3, 4)), "lit", 1)
    assert torch.allclose(alone.coarse, lit.coarse[3:4], atol=1e-5), "a scene's errors are its own"
    unlit = light_errors(scenes.cloud_shift).flat[:, 0]
    assert bool(unlit.any()) and torch.equal(lit.coarse[unlit], flat.coarse[unlit])
    changed = (lit.coarse != flat.coarse).flatten(2).float().mean(2)
    assert bool((changed[~unlit] > 0.3).all()), "all frames of a scene are flat or none"


def test_estimated_shadows_are_the_photos_but_hard(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = sample(8, 1, bank, _seeded(12), "held_out")
    scenes = scenes._replace(
        gloss=torch.zeros_like(scenes.gloss),
        eye=scenes.target + 2.5 * (scenes.eye - scenes.target),  # beyond clear air
        half_view=scenes.half_view / 2.5,
    )
    night = _rendered(scenes._replace(sun=torch.zeros_like(scenes.sun)), "flat")
    _misjudge(monkeypatch)
    exact = _rendered(scenes, "lit")
    seen, inside = torch.isfinite(exact.depth), exact.mask > 0.5
    umbra = (exact.photo == night.photo).all(2, keepdim=True) & seen & ~inside
    assert int(umbra.sum()) > 100, "the sun throws no light on the ground from below"
    grazing = (exact.coarse - exact.photo)[umbra.expand_as(exact.photo)].abs() > 1e-4
    assert float(grazing.float().mean()) < 0.01
    monkeypatch.setattr(shading, "_SUN_RADIUS", 0.0)
    hard = _rendered(scenes, "lit")
    assert torch.equal(hard.coarse, exact.coarse), "the estimated sun has no width"
    off = (hard.coarse - hard.photo).abs().amax(2, keepdim=True) > 1e-4
    for part in (inside & (exact.depth > 7), ~inside & seen & (exact.depth > 12)):
        assert int(part.sum()) > 1000 and float(off[part].float().mean()) < 0.005, "haze is the photo's"


def test_every_error_of_the_estimate_moves_what_it_should(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = sample(4, 1, bank, _seeded(12), "held_out")

    def rendered(**errors: float) -> torch.Tensor:
        _misjudge(monkeypatch, **errors)
        return _rendered(scenes, "lit").coarse

    exact, frames = rendered(), _rendered(scenes, "flat")
    seen, inside = torch.isfinite(frames.depth), (frames.mask > 0.5).expand_as(exact)
    near, far = ((seen & part).expand_as(exact) for part in (frames.depth < 4, frames.depth > 12))
    for hazy, sign in ((rendered(air=0.5), -1), (rendered(air=2.0), 1)):
        assert torch.equal(hazy[near], exact[near]) and bool((sign * (hazy - exact)[far] > 0.02).all())
    air = shading.tone_curve(scenes.horizon)[:, None, :, None, None]
    thick = (rendered(haze=2.0) - air).abs() - (exact - air).abs()
    assert bool((thick[far] <= 1e-5).all()) and float(thick[far].mean()) < -0.01
    hidden = rendered(hiding=2.0) - exact
    assert bool((hidden <= 0).all()) and 0.02 < float((hidden < -0.01).float().mean()) < 0.5
    grey = rendered(ground=0.5) - exact
    assert float(grey[inside].abs().max()) == 0 and bool((grey[near & ~inside] < -0.02).all())
    moved = (rendered(tilt=0.3) - exact)[near & ~inside]
    assert float(moved.max()) > 0.1 and float(moved.min()) < -0.1, "the shadow lies elsewhere"


def test_light_is_misjudged_by_so_much_and_every_number_apart() -> None:
    errors = light_errors(50 * torch.rand(20_000, generator=_seeded(13)))
    factors = errors[1 : LightErrors._fields.index("flat")]
    numbers = torch.cat([errors.tilt, *(factor.log() for factor in factors)], dim=1)
    spread = torch.tensor([0.07] * 2 + [0.1] * 9 + [0.05] * 3 + [0.3, 0.15] + [0.06] * 3)
    assert torch.allclose(numbers.std(0), spread, rtol=0.03)
    assert bool((numbers.mean(0).abs() < 0.03 * spread).all())
    numbers = torch.cat([numbers, errors.flat.float()], dim=1)
    assert float((torch.corrcoef(numbers.T) - torch.eye(20)).abs().max()) < 0.03
    assert float(errors.flat.float().mean()) == pytest.approx(1 / 6, abs=0.01)


def test_joints_move_their_own_parts_only(bank: Bank) -> None:
    robot = torch.full((1,), SHAPES.index("robot"))
    scenes = sample(1, 1, bank, _seeded(6), "train")
    scenes = scenes._replace(objects=bank.select(robot, torch.zeros_like(robot)))
    rest, bent = (
        solids_in_world(scenes._replace(bend=torch.full_like(scenes.bend, angle))).to_world
        for angle in (0.0, 0.5)
    )
    moved = (rest - bent).abs().amax((2, 3))[0] > 1e-5
    assert torch.equal(moved, scenes.objects.joint[0] > 0) and bool(moved.any())


def test_flow_carries_surfaces_to_where_the_next_frame_sees_them(bank: Bank) -> None:
    scenes = sample(4, 3, bank, _seeded(7), "train")
    depth = Renderer(WIDTH, HEIGHT, samples=1, chunk=4, compile=False, coarse="flat")(scenes).depth[:, :, 0]
    shift = flow(scenes, WIDTH, HEIGHT)
    assert shift.shape == (4, 2, 2, HEIGHT, WIDTH)
    moving = ("eye", "target", "place", "heading", "bend")
    frozen = {name: getattr(scenes, name)[:, :1].expand_as(getattr(scenes, name)) for name in moving}
    assert float(flow(scenes._replace(**frozen), WIDTH, HEIGHT).abs().max()) < 2e-2
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    column, row = (x + shift[:, :, 0]).floor().long(), (y + shift[:, :, 1]).floor().long()
    inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT) & (depth[:, :-1] < 6)
    scene, frame, _, _ = inside.nonzero(as_tuple=True)
    landed = depth[scene, frame + 1, row[inside], column[inside]]
    agree = ((landed - depth[:, :-1][inside]).abs() < 0.5).float().mean()
    assert float(agree) > 0.95


def test_same_seed_same_scenes_and_splits_never_meet(bank: Bank) -> None:
    one, two = (sample(64, 2, bank, _seeded(8), "held_out") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one[1:], two[1:], strict=True))
    assert bool(is_held_out(one).all())
    train = sample(256, 1, bank, _seeded(8), "train")
    assert not bool(is_held_out(train).any())
    kept = bank.kind.shape[1] - HELD_OUT_VARIANTS
    training_shapes = bank.centre[train.shape, :kept].flatten(2)
    distance = (training_shapes - train.objects.centre.flatten(1)[:, None]).abs().amax(-1).amin(-1)
    assert float(distance.max()) == 0, "training objects are training variants"


def test_a_bank_too_small_to_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="held out"):
        sample(1, 1, build_bank(HELD_OUT_VARIANTS, seed=0), _seeded(0), "train")


def test_captions_use_the_vocabulary_only(bank: Bank) -> None:
    words = {
        word for caption in captions(sample(200, 1, bank, _seeded(9), "train")) for word in caption.split()
    }
    assert words <= set(vocabulary())
