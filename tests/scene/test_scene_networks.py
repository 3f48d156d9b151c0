"""Networks in the scene stage: small ones of the published classes, from the configuration to the files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from i2v3d.config.sections import plain
from i2v3d.errors import InputError, WeightsError
from i2v3d.images import read_mask, read_rgb
from i2v3d.stages.scene import check_scene
from tests.models.test_inpainter import model  # noqa: F401
from tests.stages.test_scene_stage import config, no_blender, run, section  # noqa: F401
from tests.support.perception import save_depth_anything, save_grounding_dino, save_sam2

NETWORKS = {"weights": save_sam2, "detector": save_grounding_dino}


def test_depth_anything_makes_the_background(config, tmp_path, no_blender):  # noqa: F811
    ref = save_depth_anything(tmp_path / "weights", metric=True)
    depth = config["background"]["depth"] | {"weights": plain(ref)}
    cfg = section(config, background=config["background"] | {"method": "depth", "depth": depth})
    check_scene(cfg)
    metrics = json.loads((run(cfg, tmp_path) / "metrics.json").read_text())
    assert metrics["depth_kind"] == "metric" and metrics["depth_scale"] > 0
    assert metrics["background_faces"] > 1000


def test_sam2_makes_the_mask_or_it_is_told_what_helps(config, tmp_path, no_blender):  # noqa: F811
    segment = config["segment"] | {"method": "sam2", "points": [[0.5, 0.6]], "box": None}
    cfg = section(config, mask=None, segment=segment | {"weights": plain(save_sam2(tmp_path / "weights"))})
    check_scene(cfg)
    try:  # random weights may select anything
        out = run(cfg, tmp_path)
    except InputError as error:
        assert "give scene.segment.box around the object, scene.segment.points on it, or a mask" in str(error)
    else:
        assert json.loads((out / "metrics.json").read_text())["mask_source"] == "sam2"


@pytest.mark.slow
def test_words_find_the_box_that_sam2_makes_a_mask_of(config, tmp_path, no_blender, monkeypatch):  # noqa: F811
    monkeypatch.setattr("i2v3d.models.detector.SURE", 0.0)  # random weights are sure of nothing
    weights = {name: plain(save(tmp_path / name)) for name, save in NETWORKS.items()}
    segment = config["segment"] | weights | {"method": "words", "words": "grey cat", "box": None}
    cfg = section(config, mask=None, segment=segment)
    check_scene(cfg)
    try:  # random weights may select anything
        out = run(cfg, tmp_path)
    except InputError as error:
        assert "give other scene.segment.words, scene.segment.box around the object, or a mask" in str(error)
    else:
        assert json.loads((out / "metrics.json").read_text())["mask_source"] == "words"
    gone = segment | {"detector": segment["detector"] | {"source": "some/where"}}
    with pytest.raises(WeightsError, match="hf download some/where"):
        check_scene(section(config, mask=None, segment=gone))


@pytest.mark.parametrize("padding", ["smooth", "edge"])
@pytest.mark.slow
def test_sdxl_paints_the_plate(config, model, tmp_path, no_blender, padding):  # noqa: F811
    rear = config["background"] | {"padding": padding}
    (tmp_path / "plain").mkdir()
    plain_plate = read_rgb(run(section(config, background=rear), tmp_path / "plain") / "plate.png")
    painted = config["inpaint"] | {"method": "sdxl", "model": plain(model)}
    (tmp_path / "painted").mkdir()
    out = run(section(config, background=rear, inpaint=painted), tmp_path / "painted")
    changed = (read_rgb(out / "plate.png") != plain_plate).any(axis=-1)
    mask = read_mask(out / "mask.png")
    pad_y, pad_x = ((plain_plate.shape[i] - mask.shape[i]) // 2 for i in (0, 1))
    inner = changed[pad_y:-pad_y, pad_x:-pad_x]
    assert inner[mask].mean() > 0.8
    assert not inner[: mask.shape[0] // 8].any()  # far above the object the photo stays
    assert (changed[:, : pad_x // 2].mean() > 0.5) == (padding == "smooth")
    assert np.array_equal(read_rgb(out / "photo.png"), read_rgb(tmp_path / "plain" / "out" / "photo.png"))
