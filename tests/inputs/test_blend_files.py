"""What a .blend names is part of what its scene is made of, however the file is packed."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from i2v3d.errors import InputError
from i2v3d.scene.blend_files import referenced_files
from i2v3d.stages.registry import STAGES
from i2v3d.workflow.fingerprint import Fingerprints

NAMES = {
    "picture": ("//red.png", ["red.png"]),
    "in a folder": ("//maps/bark.jpg", ["maps/bark.jpg"]),
    "of Windows": ("//maps\\bark.jpg", ["maps/bark.jpg"]),
    "capitals": ("//SKY.EXR", ["SKY.EXR"]),
    "letters of any kind": ("//été 木.png", ["été 木.png"]),
    "sequence": ("//film_0001.png", ["film_0001.png", "film_0002.png"]),
    "tiles": ("//skin.<UDIM>.png", ["skin.1001.png", "skin.1002.png"]),
    "lamp": ("//lamp.ies", ["lamp.ies"]),
    "cache": ("//cloth.pc2", ["cloth.pc2"]),
    "gone": ("//gone.png", []),
    "no picture": ("//notes.txt", []),
    "library": ("//kit.blend", ["kit.blend", "wood.png"]),
}
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "zstandard": lambda content: b"".join(
        zstandard.compress(content[i : i + 50]) for i in range(0, len(content), 50)
    ),
    "gzip": gzip.compress,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in {file for _, files in NAMES.values() for file in files} | {"notes.txt", "other.png"}:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "kit.blend").write_bytes(blend("//wood.png"))
    return tmp_path


def blend(*names: str) -> bytes:
    """Bytes as Blender writes them: names that end in a zero, between numbers."""
    body = b"".join(b"\x07\x01\x2f\x00IMname\x00\x01\x3f" + name.encode() + b"\x00" * 9 for name in names)
    return b"BLENDER-v405REND" + body + b"ENDB"


@pytest.mark.parametrize("kind", NAMES)
def test_the_files_that_a_blend_names_are_found(kind: str, folder: Path) -> None:
    name, files = NAMES[kind]
    (folder / "scene.blend").write_bytes(blend(name))
    found = [str(path.relative_to(folder)) for path in referenced_files(folder / "scene.blend")]
    assert found == sorted(files)


@pytest.mark.parametrize("packing", PACKINGS)
def test_compressed_blends_are_read_as_well(packing: str, folder: Path) -> None:
    (folder / "scene.blend").write_bytes(PACKINGS[packing](blend("//red.png", str(folder / "maps/bark.jpg"))))
    assert referenced_files(folder / "scene.blend") == (folder / "maps/bark.jpg", folder / "red.png")


@pytest.mark.parametrize("packing", ["zstandard", "gzip"])
def test_a_blend_that_cannot_be_unpacked_is_named(packing: str, folder: Path) -> None:
    content = PACKINGS[packing](blend("//red.png"))
    (folder / "scene.blend").write_bytes(content[:4] + b"\xff" * 9 + content[13:])
    with pytest.raises(InputError, match=r"scene\.blend cannot be read \(.*save it in Blender again"):
        referenced_files(folder / "scene.blend")


def test_a_changed_texture_changes_what_the_scene_depends_on(folder: Path) -> None:
    (folder / "scene.blend").write_bytes(blend("//red.png"))
    (folder / "photo.png").write_bytes(b"photo")
    cut = {"blend": str(folder / "scene.blend"), "photo": str(folder / "photo.png")}

    def contents() -> dict[str, str]:
        prints = Fingerprints(folder / "absent.json")
        return {path: prints.of(path, option) for path, option in STAGES["scene"].named_files(cut)}

    before = contents()
    (folder / "other.png").write_bytes(b"not named")
    assert contents() == before
    (folder / "red.png").write_bytes(b"painted over")
    assert contents() != before and contents().keys() == before.keys()
