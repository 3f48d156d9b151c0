"""The targets that train and measure the miniature family, as users run them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from i2v3d.errors import WeightsError
from i2v3d.toy import family as mini
from miniature.assemble import trained_networks
from miniature.loop import save_half
from tests.support.checkout import make_checkout, planned_jobs, snakemake

ROOT = Path(__file__).parents[2]
CONF = Path(__file__).parents[1] / "conf" / "training"
OWN = ("-s", "miniature/Snakefile")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "checkout")


def test_the_product_names_nothing_of_this_project() -> None:
    places = ("i2v3d", "rules", "conf", "profiles")
    files = [ROOT / "Snakefile", *(path for place in places for path in (ROOT / place).rglob("*"))]
    for path in files:
        if path.suffix in {"", ".py", ".smk", ".yaml", ".rst"} and path.is_file():
            assert not re.search(r"miniature[./:]|-m miniature|mini_report|mini_weights", path.read_text()), (
                path
            )


@pytest.mark.slow
def test_the_target_plans_every_training_and_the_family(checkout: Path) -> None:
    plan = snakemake(checkout, *OWN, "-n", "-p", "mini_weights")
    assert plan.returncode == 0, plan.stdout
    assert planned_jobs(plan.stdout) == {"mini_training": 14, "mini_weights": 1}
    order = re.findall(r"miniature train (\w+) --config \S+/(\w+)\.yaml .*--stream (\d)", plan.stdout)
    assert {(name, part) for part, name, _ in order} == {
        (name, name.removesuffix("_more").removesuffix("_lit"))
        for name in (
            "clip",
            "vae",
            "vae_decoder",
            "image",
            "image_more",
            "guided_image",
            "guided_image_more",
            "guided_image_lit",
            "video",
            "video_more",
            "guided_video",
            "guided_video_lit",
            "temporal_decoder",
            "estimator",
        )
    }
    assert len({(part, stream) for part, _, stream in order}) == 14, (
        "trainings of one part see other pictures"
    )
    names = [name for _, name, _ in order]
    for one, two in (
        ("vae", "vae_decoder"),
        ("vae_decoder", "image"),
        ("image", "image_more"),
        ("image_more", "guided_image"),
    ):
        assert names.index(one) < names.index(two)
    assert names.index("clip") < names.index("video") < names.index("video_more")


@pytest.mark.slow
def test_the_report_plans_its_own_shots_and_probes(checkout: Path) -> None:
    planned = planned_jobs(
        snakemake(checkout, *OWN, "-n", "mini_report", settings={"report": "quick"}).stdout
    )
    assert planned["probe"] == 2 * 3 and planned["keyframes"] == 6 and "variant" not in planned
    refused = snakemake(checkout, *OWN, "-n", "mini_report", settings={"report": "quik"}).stdout
    assert "i2v3d: error: report=quik does not exist; did you mean 'quick'?" in refused


@pytest.mark.slow
def test_a_training_of_the_target_runs(checkout: Path) -> None:
    content = yaml.safe_load((CONF / "clip.yaml").read_text())
    content["world"] |= {"variants": 40, "pool": 8, "chunk": 2, "samples": 1, "held_out": 2}
    content["world"] |= {"width": 48, "height": 32}
    content["loop"] |= {"max_steps": 2, "batch": 2}
    own = checkout / "miniature"
    source = own.resolve()
    own.unlink()
    (own / "conf" / "training").mkdir(parents=True)
    for path in source.iterdir():
        if path.name != "conf":
            (own / path.name).symlink_to(path)
    (own / "conf" / "training" / "clip.yaml").write_text(yaml.safe_dump(content))
    done = snakemake(checkout, *OWN, "results/mini_weights/clip")
    assert done.returncode == 0, done.stdout
    folder = checkout / "results" / "mini_weights"
    written = sorted(path.name for path in (folder / "clip").glob("[!.]*"))
    assert written == ["clip.json", "te2.safetensors", "vision.safetensors"]
    assert (folder / "log" / "clip.log").read_text().count("clip step 2") == 1


def test_the_family_takes_the_last_of_each_part_and_copies_its_decoder(tmp_path: Path) -> None:
    from miniature.assemble import PARTS

    networks = mini.random_family(7)
    for name, file in PARTS.items():
        save_half(networks[name], tmp_path / "early" / f"{file}.safetensors")
    save_half(mini.random_family(8)["image/vae"], tmp_path / "late" / "vae.safetensors")
    family = trained_networks([tmp_path / "early", tmp_path / "late"])
    late = load_file(tmp_path / "late" / "vae.safetensors")["decoder.conv_in.weight"].float()
    for name in ("image/vae", "video/vae"):
        assert torch.equal(family[name].state_dict()["decoder.conv_in.weight"], late), name
    again = trained_networks([tmp_path / "early", tmp_path / "late"])
    for name, value in family["video/vae"].state_dict().items():  # the untrained temporal layers too
        assert torch.equal(value, again["video/vae"].state_dict()[name]), name
    with pytest.raises(WeightsError, match="missing"):
        trained_networks([tmp_path / "late"])
