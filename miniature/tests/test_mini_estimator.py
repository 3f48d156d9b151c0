"""Estimators of toy pictures: what is cut out and spoilt, the losses, a training, and the shipped one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from i2v3d.errors import ConfigError, ShapeError, WeightsError
from i2v3d.models.object_crops import mask_boxes, object_crops
from i2v3d.toy import family as mini
from i2v3d.toy.estimator import ToyEstimator, estimator_network
from i2v3d.toy.world.clips import held_out_clip, turned
from i2v3d.toy.world.render import Renderer, coverage
from miniature.assemble import PARTS
from miniature.data import World
from miniature.estimator import (
    Estimated,
    Truth,
    blur,
    depth_loss,
    identity_loss,
    mask_loss,
    measure,
    second_view,
    top1,
)
from miniature.loop import load_half, save_half
from miniature.settings import EstimatorSettings, load
from miniature.tests.support import command

pytestmark = pytest.mark.slow  # trainings, and the shipped networks

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "miniature" / "conf" / "training" / "estimator.yaml"


def _settings(**world: Any) -> dict[str, Any]:
    """The shipped settings for two small steps on the CPU."""
    content: dict[str, Any]
    content = yaml.safe_load(SHIPPED.read_text())
    content["world"] |= {"variants": 40, "pool": 4, "chunk": 2, "samples": 1, "held_out": 2}
    content["world"] |= {"width": 64, "height": 32, **world}
    content["loop"] |= {"max_steps": 2, "batch": 2, "log_every": 1, "warm_up": 1}
    return {**content, "gallery": 2}


def _load(tmp_path: Path, **world: Any) -> EstimatorSettings:
    path = tmp_path / "estimator.yaml"
    path.write_text(yaml.safe_dump(_settings(**world)))
    return load(path, EstimatorSettings)


def _rectangle(left: int, top: int, right: int, bottom: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, 32, 64)
    mask[..., top:bottom, left:right] = 1
    return mask


# ---------------------------------------------------------------- pictures
def test_blur_keeps_the_sum_and_spreads_by_its_deviation() -> None:
    point = torch.zeros(2, 1, 33, 33)
    point[..., 16, 16] = 1
    seen = blur(point, torch.tensor([0.2, 1.5]))
    assert torch.allclose(seen.sum((1, 2, 3)), torch.ones(2), atol=1e-5)
    place = torch.arange(33) - 16.0
    variance = (seen[:, 0].sum(1) * place**2).sum(1)
    assert float(variance[0]) < 0.01 and float(variance[1]) == pytest.approx(1.5**2, rel=0.05)
    flat = torch.full((1, 3, 16, 16), 0.3)
    assert torch.allclose(blur(flat, torch.tensor([1.0])), flat, atol=1e-6)


def test_boxes_enclose_the_mask_and_an_empty_one_is_the_picture() -> None:
    masks = torch.cat([_rectangle(5, 3, 20, 30), torch.zeros(1, 1, 32, 64)])
    assert mask_boxes(masks).tolist() == [[5, 3, 20, 30], [0, 0, 64, 32]]


def test_a_crop_keeps_proportions_and_hides_the_surroundings() -> None:
    mask = _rectangle(10, 8, 30, 18)  # twice as wide as high
    picture = torch.where(mask > 0, 0.5, -1.0).expand(1, 3, 32, 64)
    crop = object_crops(picture, mask, mask_boxes(mask), 64)
    inside = (crop[0, 0] > 0.25).float()
    wide, high = inside.amax(0).sum(), inside.amax(1).sum()
    assert float(wide / high) == pytest.approx(2.0, rel=0.1)
    assert float(crop.min()) >= 0.0, "grey is all that is left of the surroundings"
    elsewhere = object_crops(torch.where(mask > 0, 0.5, 1.0).expand(1, 3, 32, 64), mask, mask_boxes(mask), 64)
    assert torch.equal(crop, elsewhere)


def test_the_second_view_turns_the_object_by_the_angle_that_was_asked(tmp_path: Path) -> None:
    settings = _load(tmp_path)
    world = World(settings.world, torch.device("cpu"))
    scenes, _ = world.held_out(1)

    def angle(views: Any) -> torch.Tensor:
        offset = views.eye - views.target
        return views.heading - torch.atan2(offset[..., 1], offset[..., 0])

    second = second_view(scenes, world, settings, torch.Generator().manual_seed(1))
    turn = torch.rad2deg(angle(second) - angle(scenes))
    turn = (turn + 180) % 360 - 180
    assert float(turn.abs().max()) <= settings.turn_deg + 1e-3 and float(turn.abs().max()) > 1
    assert torch.equal(second.shape, scenes.shape) and torch.equal(second.palette, scenes.palette)
    assert not torch.allclose(second.eye, scenes.eye)


# ---------------------------------------------------------------- losses and scores
def _truth(**changes: Any) -> Truth:
    mask = torch.cat([_rectangle(5, 3, 20, 30), _rectangle(30, 10, 50, 20)])
    fields = {"pictures": torch.zeros(2, 3, 32, 64), "masks": mask, "log_depth": torch.rand(2, 1, 32, 64) + 1}
    return Truth(**{**fields, **changes})


def test_losses_of_the_truth_are_least(tmp_path: Path) -> None:
    settings, truth = _load(tmp_path), _truth()
    assert float(depth_loss(truth.log_depth, truth, settings)) == 0
    shifted = depth_loss(truth.log_depth + 0.1, truth, settings)
    assert float(shifted) == pytest.approx(0.1, rel=1e-3), (
        "a common factor costs nothing but the absolute part"
    )
    right = (truth.masks * 2 - 1) * 20
    assert float(mask_loss(right, truth.masks)) < 0.01 < 1 < float(mask_loss(-right, truth.masks))
    vectors = torch.nn.functional.normalize(torch.eye(4), dim=-1)
    same, mixed = torch.cat([vectors, vectors]), torch.cat([vectors, vectors.roll(1, 0)])
    assert float(identity_loss(same, 0.07)) < 1e-3 < 5 < float(identity_loss(mixed, 0.07))


def test_scores_of_the_truth_are_perfect_and_a_factor_is_told_apart() -> None:
    truth = _truth()
    vectors = torch.eye(2)
    estimated = Estimated(truth.log_depth, truth.masks, torch.cat([vectors, vectors]))
    pair = Estimated(truth.log_depth + math.log(1.1), truth.masks, estimated.embedding)
    perfect, scaled = (measure(e, truth, gallery=2) for e in (estimated, pair))
    assert perfect == {"depth_abs_rel": 0.0, "depth_si_log": 0.0, "mask_iou": 1.0, "top1": 1.0}
    assert scaled["depth_abs_rel"] == pytest.approx(0.1, rel=1e-3)
    assert scaled["depth_si_log"] == pytest.approx(0.0, abs=1e-3)
    assert top1(torch.cat([vectors, vectors]), 2) == 1.0
    assert top1(torch.cat([vectors, vectors.flip(0)]), 2) == 0.0


# ---------------------------------------------------------------- training
def test_a_training_writes_what_the_family_takes(tmp_path: Path) -> None:
    weights, out, config = tmp_path / "weights", tmp_path / "out", tmp_path / "estimator.yaml"
    save_half(mini.random_family(5)["image/vae"], weights / "vae.safetensors")
    config.write_text(yaml.safe_dump(_settings()))
    command("train", "estimator", "--config", config, "--weights", weights, "--out", out, "--device", "cpu")
    scores = json.loads((out / "estimator.json").read_text())
    assert scores["steps"] == 2 and all(math.isfinite(value) for value in scores.values())
    assert {"mask_iou", "spoilt_mask_iou", "top1", "depth_si_log"} <= set(scores)
    load_half(estimator_network(), out / "estimator.safetensors")
    assert PARTS["estimator"] == "estimator" and (out / "estimator.png").is_file()


def test_a_gallery_that_does_not_divide_the_held_out_scenes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiple of gallery"):
        _load(tmp_path, held_out=3)


# ---------------------------------------------------------------- use
@pytest.fixture(scope="module")
def estimator() -> ToyEstimator:
    return ToyEstimator.load(ROOT / "weights" / "mini" / "estimator")


def test_pictures_that_cannot_be_judged_are_refused(estimator: ToyEstimator) -> None:
    good = torch.rand(2, 3, 32, 64)
    for wrong, told in (
        (good[0], "N, 3, H, W"),
        (torch.rand(1, 3, 40, 64), "multiples of 16"),
        (good * 255, "0, 1"),
        (good * math.nan, "NaN"),
    ):
        with pytest.raises(ShapeError, match=told):
            estimator.mask(wrong)
    with pytest.raises(ShapeError, match="no object"):
        estimator.embedding(good, torch.zeros(2, 1, 32, 64))


def test_missing_and_corrupt_estimators_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json is missing"):
        ToyEstimator.load(tmp_path)
    network = estimator_network()
    network.save_pretrained(tmp_path, safe_serialization=True)
    ToyEstimator.load(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="restore it or train it again"):
        ToyEstimator.load(tmp_path)


def test_estimates_do_not_depend_on_the_batch(estimator: ToyEstimator) -> None:
    pictures = torch.rand(3, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    whole, one = estimator.depth(pictures), estimator.depth(pictures[1:2])
    assert torch.allclose(whole[1:2], one, rtol=1e-4) and float(whole.min()) > 0


def test_the_shipped_estimators_know_held_out_objects(estimator: ToyEstimator) -> None:
    """Four objects, each before and after a turn of 60 degrees."""
    render = Renderer(192, 128, samples=1, chunk=1, compile=False, coarse="flat")
    first, second, ious = [], [], []
    for index in (1, 3, 4, 7):
        clip = turned(held_out_clip(2026, 512, index, 2), 60.0)
        pictures, mask = render(clip).photo[0], coverage(clip, 192, 128)[0][:, None]
        found = estimator.mask(pictures)
        ious.append(float(((found > 0.5) & mask).sum() / ((found > 0.5) | mask).sum()))
        both = estimator.embedding(pictures, found)
        first.append(both[0])
        second.append(both[1])
    assert min(ious) > 0.75 and sum(ious) / 4 > 0.85, ious
    assert torch.equal((torch.stack(second) @ torch.stack(first).T).argmax(1), torch.arange(4))
