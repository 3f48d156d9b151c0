"""Runs whose networks are tiny ones of the real classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from i2v3d.artifacts.folders import frame_name
from i2v3d.errors import WeightsError
from i2v3d.images import read_rgb, write_rgb
from i2v3d.stages.registry import STAGES
from i2v3d.toy.moving_disc import write_moving_disc
from i2v3d.workflow import preflight
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import make_plan, stage_dirs
from i2v3d.workflow.runner import Job, Settings, run_job
from tests.support.image_family import write_tiny_family
from tests.support.vace_family import write_tiny_pipeline

CONF = Path(__file__).parents[2] / "conf"
FOLDERS = {"base": "image", "controlnet": "image_controlnet"}
PHOTO = ("models=wan_vace", "infill.keyframes=photo", "infill.start=overlap")
TINY = (
    *("models.segment_frames=9", "models.frames=17", "scene.width=48", "scene.height=32", "infill.steps=2"),
    *(
        "models.video.networks.dtype=float32",
        "models.video.text.dtype=float32",
        "models.video.text.max_tokens=6",
    ),
    *("runtime.device=cpu", "tracking.mode=disabled"),
)


def test_a_run_is_refused_truncated_weights_before_any_work(tmp_path: Path) -> None:
    write_tiny_family(tmp_path)
    (variant,) = compose_variants(
        CONF,
        [
            "scene=toy",
            *(f"models.image.{name}.source={tmp_path}/{folder}" for name, folder in FOLDERS.items()),
        ],
    )
    preflight.check_weights(variant.config)
    file = tmp_path / "image" / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(
        WeightsError, match=r"unet/diffusion_pytorch_model\.safetensors is truncated or corrupt"
    ):
        preflight.check_weights(variant.config)


@pytest.mark.slow
def test_planned_jobs_make_a_shot_from_the_photo_alone(tmp_path: Path) -> None:
    """From words to published folders by the program's own runner: scene and render are made up, the rest is real."""
    write_tiny_pipeline(tmp_path / "weights")
    words = (*PHOTO, *TINY, f"models.video.networks.base.source={tmp_path / 'weights'}")
    made = make_plan(compose_variants(CONF, words), Fingerprints(tmp_path / "memo.json"))
    nodes = {node.stage: node for node in made.nodes}
    cache = tmp_path / "cache"
    write_moving_disc(cache / "render" / nodes["render"].key, 17, 32, 48)
    (cache / "scene" / nodes["scene"].key).mkdir(parents=True)
    photo = read_rgb(cache / "render" / nodes["render"].key / "rgb" / "0001.png")
    write_rgb(cache / "scene" / nodes["scene"].key / "photo.png", photo)
    settings = Settings(made.run, made.runtime, made.tracking)
    outs = []
    for stage, segment in (("text", None), ("infill", 0), ("infill", 1)):
        node = nodes[stage]
        (out,) = stage_dirs(cache, stage, node.key, node.segments, segment)
        run_job(Job(node, cache, out, segment, settings, threads=1), STAGES[stage])
        outs.append(out)
    first, second = outs[1:]
    assert np.array_equal(read_rgb(first / frame_name(1)), photo)
    assert np.array_equal(read_rgb(first / frame_name(9)), read_rgb(second / frame_name(9)))
    assert [len(list(out.glob("*.png"))) for out in (first, second)] == [9, 9]
    record = json.loads((second / "stage.json").read_text())
    assert record["key"] == nodes["infill"].key and record["config"]["infill"]["keyframes"] == "photo"
