"""Meshes that Blender would take for something else: the copy that it gets says what the file means."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from i2v3d.errors import InputError
from i2v3d.scene.mesh_files import check_mesh, copy_mesh

CAP = 1000
# A triangle, as 36 bytes of positions.
BUFFER = "data:application/octet-stream;base64,AACAvwAAAAAAAIC/AACAPwAAAAAAAIC/AACAPwAAAAAAAIA/"


def gltf(**changes: Any) -> dict[str, Any]:
    """Two nodes that show the triangle, one a scene; the second scene's node stands far away."""
    whole: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": 36, "uri": BUFFER}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"children": [1]}, {"mesh": 0}, {"mesh": 0, "translation": [30, 0, 0]}],
        "scenes": [{"nodes": [0]}, {"nodes": [2]}],
        "scene": 0,
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not None}


def copied(content: dict[str, Any] | bytes, folder: Path) -> dict[str, Any]:
    """The description in the copy, which needs no further rewriting."""
    (folder / "a.gltf").write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    copy = copy_mesh(folder / "a.gltf", folder / "copy", CAP)
    assert not check_mesh(copy, CAP).rewrite
    found: dict[str, Any] = json.loads(copy.read_bytes())
    return found


@pytest.mark.parametrize(
    ("changes", "shown"),
    [({}, [1]), ({"scene": 1}, [2]), ({"scene": None}, [1]), ({"scenes": None, "scene": None}, [1, 2])],
)
def test_only_what_the_scene_of_a_gltf_shows_is_kept(
    changes: dict[str, Any], shown: list[int], tmp_path: Path
) -> None:
    """Blender imports all nodes, and nothing of a file without a scene."""
    found = copied(gltf(**changes), tmp_path)
    assert [n for n, node in enumerate(found["nodes"]) if "mesh" in node] == shown
    roots = found["scenes"][found.get("scene", 0)]["nodes"]
    assert roots == ([0, 2] if changes.get("scenes", 0) is None else [shown[0] if shown == [2] else 0])


def test_a_whole_gltf_is_copied_byte_by_byte(tmp_path: Path) -> None:
    whole = json.dumps(gltf(nodes=[{"mesh": 0}], scenes=[{"nodes": [0]}])).encode()
    copied(whole, tmp_path)
    assert (tmp_path / "copy" / "a.gltf").read_bytes() == whole


def test_marks_of_byte_order_are_taken_off(tmp_path: Path) -> None:
    """Blender refuses a glTF with one, and misses an OBJ's first word: the library, or the material's name."""
    copied(BOM_UTF8 + json.dumps(gltf()).encode(), tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "red.png")
    (tmp_path / "m.mtl").write_bytes(BOM_UTF8 + b"newmtl m\nmap_Kd red.png\n")
    for mark in (b"", BOM_UTF8):
        (tmp_path / "a.obj").write_bytes(
            mark + b"mtllib m.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
        )
        copy = copy_mesh(tmp_path / "a.obj", tmp_path / f"copy{len(mark)}", CAP)
        assert copy.read_bytes().startswith(b"mtllib m.mtl\n")
        assert copy.with_name("m.mtl").read_bytes().startswith(b"newmtl m\n")
        assert copy.with_name("red.png").is_file()


def test_names_in_other_letters_and_old_gltf_are_told(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "red.png")
    (tmp_path / "m.mtl").write_text("newmtl m\nmap_Kd RED.PNG\n")
    (tmp_path / "a.obj").write_text("mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(InputError, match=r"'RED\.PNG' of mesh .* is there as 'red\.png'; rename it"):
        check_mesh(tmp_path / "a.obj", CAP)
    (tmp_path / "a.gltf").write_text(json.dumps(gltf(asset={"version": "1.0"})))
    with pytest.raises(InputError, match=r"is of glTF 1\.0, which is not read; export it as glTF 2\.0"):
        check_mesh(tmp_path / "a.gltf", CAP)


def test_colours_that_are_no_numbers_are_left_out_of_a_far_obj(tmp_path: Path) -> None:
    lines = [f"v 1000000.5 {y} 0 0 0 {blue}" for y, blue in ((200, "1"), (201, "!"), (202, "1"))]
    (tmp_path / "a.obj").write_text("\n".join([*lines, "f 1 2 3"]))
    copy = copy_mesh(tmp_path / "a.obj", tmp_path / "copy", CAP).read_text().splitlines()
    assert [len(line.split()) for line in copy] == [4, 4, 4, 4]
    assert copy[-1] == "f 1 2 3" and abs(float(copy[0].split()[1])) < 1
