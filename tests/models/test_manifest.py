"""What is known of the published weights beforehand names a wrong or truncated file by its header alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from i2v3d.errors import WeightsError
from i2v3d.models.architectures import (
    FAMILIES,
    MANIFESTS,
    derived_shapes,
    manifest_text,
    published_manifest,
    shapes_of,
)
from i2v3d.models.manifest import Known, Manifest, check_headers, folded, load_manifest, unfolded
from i2v3d.models.needs import Need, Part
from tests.support.image_family import reference, tiny_unet, tiny_vae, write_tiny_family

FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def vae(tmp_path: Path) -> tuple[Need, Manifest, Path]:
    """A small VAE on disk, the need of it, and a manifest that knows it."""
    tiny_vae().save_pretrained(tmp_path / "vae", safe_serialization=True)
    shapes, config = shapes_of(tiny_vae)
    need = Need("models.image.base", reference(tmp_path), (Part("vae", "AutoencoderKL"),))
    return need, Manifest({"models.image.base/vae": Known(config, shapes)}, ()), tmp_path / "vae"


def rewrite(folder: Path, change: object) -> None:
    """Saves the weights anew with one parameter changed, dropped (None) or renamed (str -> str)."""
    tensors = load_file(folder / FILE)
    name = "encoder.conv_in.bias"
    value = tensors.pop(name)
    if callable(change):
        tensors[name] = change(value)
    save_file(tensors, folder / FILE)


def sizes(manifest: Manifest) -> dict[str, int]:
    return {name: sum(map(np.prod, known.shapes.values())) for name, known in manifest.networks.items()}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_stored_manifests_are_what_the_architectures_say(family: str) -> None:
    stored = (MANIFESTS / f"{family}.json").read_text(encoding="utf-8")
    assert stored == manifest_text(published_manifest(family))


def test_the_networks_are_as_large_as_published() -> None:
    wan = sizes(load_manifest("sdxl_wan_vace"))
    assert round(wan["models.video.networks.base/transformer"] / 1e6) == 2154
    assert round(wan["models.video.networks.base/vae"] / 1e6) == 127
    assert round(wan["models.video.text.base/text_encoder"] / 1e9, 1) == 4.6  # 5.7 with its embeddings
    manifest = load_manifest("sdxl_svd")
    numbers = sizes(manifest)
    assert numbers["models.image.base/unet"] == 2_567_463_684  # as published: 2.6 billion
    assert numbers["models.video.base/unet"] == 1_524_623_082
    assert len(manifest.unconfirmed) >= 4


def test_folding_loses_nothing() -> None:
    shapes, _ = shapes_of(tiny_unet)
    assert dict(unfolded(json.loads(json.dumps(folded(shapes))))) == shapes
    assert len(json.dumps(folded(shapes))) < len(json.dumps(shapes)) / 3


def test_a_family_without_a_manifest_is_checked_by_its_own_configuration(tmp_path: Path) -> None:
    assert load_manifest("mini").networks == {}
    write_tiny_family(tmp_path)
    for part, network in (("unet", "UNet2DConditionModel"), ("text_encoder", "CLIPTextModel")):
        folder = tmp_path / "image" / part
        (file,) = folder.glob("*.safetensors")
        assert derived_shapes(network, folder) == {k: v.shape for k, v in load_file(file).items()}
    with pytest.raises(WeightsError, match=r"scheduler/config\.json describes no UNet2DConditionModel"):
        derived_shapes("UNet2DConditionModel", tmp_path / "image" / "scheduler")


def test_whole_weights_pass(vae: tuple[Need, Manifest, Path]) -> None:
    need, manifest, folder = vae
    assert check_headers(need, manifest) == folder.parent


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            None,
            r"vae does not hold a AutoencoderKL of its config.json: encoder.conv_in.bias should be \[8\], .* lacks it",
        ),
        (lambda value: value[:4], r"encoder.conv_in.bias should be \[8\], the file has \[4\]"),
    ],
)
def test_a_wrong_parameter_is_named(change: object, message: str, vae: tuple[Need, Manifest, Path]) -> None:
    need, manifest, folder = vae
    rewrite(folder, change)
    with pytest.raises(WeightsError, match=message):
        check_headers(need, manifest)


def test_a_truncated_file_is_named(vae: tuple[Need, Manifest, Path]) -> None:
    need, manifest, folder = vae
    content = (folder / FILE).read_bytes()
    for rest in (content[:-1], content[:100], b""):
        (folder / FILE).write_bytes(rest)
        with pytest.raises(WeightsError, match=rf"vae/{FILE} is truncated or corrupt"):
            check_headers(need, manifest)


def test_missing_files_are_named_together(vae: tuple[Need, Manifest, Path]) -> None:
    need, manifest, folder = vae
    (folder / FILE).unlink()
    (folder / "config.json").unlink()
    with pytest.raises(
        WeightsError, match=rf"models\.image\.base: .* lacks vae/config\.json, vae/{FILE}; restore"
    ):
        check_headers(need, manifest)


def test_names_of_older_files_count(vae: tuple[Need, Manifest, Path]) -> None:
    """Diffusers reads query, key, value and proj_attn as today's names."""
    need, manifest, folder = vae
    tensors = load_file(folder / FILE)
    former = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    for today, name in former.items():
        tensors = {key.replace(today, name): value for key, value in tensors.items()}
    save_file(tensors, folder / FILE)
    check_headers(need, manifest)


def test_another_architecture_is_no_mistake_of_the_file(vae: tuple[Need, Manifest, Path]) -> None:
    need, manifest, folder = vae
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"latent_channels": 16}))
    rewrite(folder, None)
    check_headers(need, manifest)


def test_weights_in_several_files_are_read_together(vae: tuple[Need, Manifest, Path]) -> None:
    need, manifest, folder = vae
    tensors = list(load_file(folder / FILE).items())
    (folder / FILE).unlink()
    for number, half in enumerate((tensors[:20], tensors[20:]), start=1):
        save_file(dict(half), folder / f"diffusion_pytorch_model-0000{number}-of-00002.safetensors")
    check_headers(need, manifest)
    (folder / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match="the file lacks it"):
        check_headers(need, manifest)
