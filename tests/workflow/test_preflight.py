"""What would stop a stage later is refused first."""

import dataclasses
import json
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from i2v3d.config.models import ModelsConfig
from i2v3d.config.sections import build
from i2v3d.config.weights import WeightsRef
from i2v3d.errors import ConfigError, InputError, MachineError, WeightsError
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.plan import PlannedVariant
from i2v3d.workflow.preflight import check_lora, check_sizes, check_writable, out_of_its_world

REF = WeightsRef(source="", revision=None, subfolder=None, variant=None, size_gb=0.0, licence="none")
Scene = namedtuple("Scene", "width height")


@pytest.fixture
def models(tmp_path: Path) -> ModelsConfig:
    """The shipped family's configuration on folders that hold nothing but sizes: VAE 1/8, UNets 1/4 and 1/8."""
    for part, levels in (("image/vae", 4), ("image/unet", 3), ("video/vae", 4), ("video/unet", 4)):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "config.json").write_text(json.dumps({"block_out_channels": [8] * levels}))
    (variant,) = compose_variants(Path(__file__).parents[2] / "conf", [])
    shipped = build(ModelsConfig, variant.config["models"], "models")
    image = dataclasses.replace(shipped.image, base=dataclasses.replace(REF, source=str(tmp_path / "image")))
    video = dataclasses.replace(shipped.video, base=dataclasses.replace(REF, source=str(tmp_path / "video")))
    return dataclasses.replace(shipped, image=image, video=video)


def test_sizes_are_multiples_of_what_the_networks_say(models: ModelsConfig) -> None:
    check_sizes(Scene(1024, 576), models)
    with pytest.raises(ConfigError, match=r"scene.height is 600; .* multiple of 64: use 576 or 640"):
        check_sizes(Scene(1024, 600), models)
    with pytest.raises(ConfigError, match=r"scene.width is 32; .* use 64 or 128"):
        check_sizes(Scene(32, 64), models)


def test_missing_and_corrupt_network_configurations_are_named(models: ModelsConfig, tmp_path: Path) -> None:
    (tmp_path / "video" / "unet" / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"video/unet/config\.json cannot be read"):
        check_sizes(Scene(64, 64), models)
    shutil.rmtree(tmp_path / "image")
    with pytest.raises(WeightsError, match="image"):
        check_sizes(Scene(64, 64), models)


def test_places_that_cannot_be_written_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(tmp_path / "new" / "folder", 1000)
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="file is not writable"):
        check_writable(tmp_path / "file" / "folder", 1000)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    with pytest.raises(MachineError, match=r"new has 0 bytes free, this run writes up to 5\.0 GB"):
        check_writable(tmp_path / "new", 5_000_000_000)


def test_a_lora_of_another_model_is_refused_before_any_job(tmp_path: Path) -> None:
    layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    matrices = {"lora_A": np.ones((4, 768), np.float32), "lora_B": np.ones((320, 4), np.float32)}
    save_file({f"{layer}.{side}.weight": m for side, m in matrices.items()}, tmp_path / "sd15.safetensors")
    words = [f"lora.weights={tmp_path}/sd15.safetensors"]
    (variant,) = compose_variants(Path(__file__).parents[2] / "conf", words)
    planned = PlannedVariant("base", (), variant.config, {}, 2)
    with pytest.raises(
        InputError, match=r"sd15\.safetensors is a LoRA for texts 768 wide, likely one of Stable Dif"
    ):
        check_lora(planned, Scene(64, 64))


def test_the_miniature_says_that_it_cannot_paint_a_photo() -> None:
    def told(models: str, source: str) -> str | None:
        return out_of_its_world({"models": {"name": models}, "scene": {"name": "mug", "source": source}})

    line = told("mini", "photo")
    assert line is not None and "\n" not in line
    assert "'mug' will be smeared; models=sdxl_svd" in line
    assert told("mini", "toy") is None and told("sdxl_svd", "photo") is None
