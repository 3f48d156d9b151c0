"""Readers of users' files under damage: whatever the bytes, they give a good result or one line, and nothing else.

`make test-fuzz` tries more examples than a run of all tests does.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from i2v3d.models.lora_content import check_lora_content
from i2v3d.scene.blend_files import referenced_files
from i2v3d.scene.exr_files import exr_colour, exr_depth, exr_mask, exr_size
from i2v3d.scene.frame_numbers import frame_numbers
from i2v3d.scene.mesh_files import check_mesh, copy_mesh
from i2v3d.scene.motion.camera_files import FORMATS, read_track
from i2v3d.scene.photo.framing import load_photo
from tests.inputs.test_blend_files import PACKINGS, blend
from tests.inputs.test_cameras import COLMAP_TEXTS, NERFS, binary_colmap, colmap
from tests.inputs.test_meshes import HERE, write_kinds
from tests.inputs.test_renders import write_exr
from tests.scene.test_mesh_files import binary_ply, triangle_fbx
from tests.support.damage import damaged, fuzzed, one_line_at_most

pytestmark = pytest.mark.slow  # half a minute, which a quick check should not take
SIZE = (64, 48)


def _mesh_contents() -> dict[str, tuple[bytes, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        write_kinds(Path(folder))
        files = [*HERE.iterdir(), *Path(folder).iterdir()]
        found = {
            suffix: tuple(file.read_bytes() for file in sorted(files) if file.suffix == suffix)
            for suffix in (".glb", ".obj", ".ply", ".stl", ".off")
        }
    found[".ply"] += (binary_ply(), binary_ply(corners=5))
    found[".fbx"] = (triangle_fbx(), triangle_fbx(picture=b"x.png"))
    found[".gltf"] = tuple(content[20:900].rstrip(b"\0") for content in found[".glb"])
    return found


MESHES = _mesh_contents()


@pytest.mark.parametrize("suffix", MESHES)
def test_damaged_meshes(suffix: str) -> None:
    @fuzzed
    @given(damaged(MESHES[suffix]))
    def trial(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"a{suffix}"
            path.write_bytes(content)
            Image.new("RGB", (4, 4)).save(Path(folder) / "two.png")
            with one_line_at_most():
                facts = check_mesh(path, 10**5)
                assert facts.faces > 0 and np.isfinite(facts.offset).all()
                copy = copy_mesh(path, Path(folder) / "copy", 10**5)
                assert check_mesh(copy, 10**5).faces == facts.faces

    trial()


def _camera_contents() -> dict[str, tuple[bytes, ...]]:
    pose = np.eye(4).tolist()
    look_at = {"start_pos": [[0, 0, 0]] * 2, "end_pos": [[0, 1, 0]] * 2, "up_pos": [[0, 1, 1]] * 2, "fov": 45}
    dust3r = {"focals": [60.0], "principal_points": [[32, 24]], "poses": [pose]}
    line = "{} 0.9 1.2 0.5 0.5 0 0 1 0 0 0 0 1 0 0 0 0 1 0\n"
    return {
        "nerfstudio": tuple(json.dumps(value).encode() for value in NERFS.values()),
        "look_at": (json.dumps(look_at).encode(),),
        "dust3r": (json.dumps(dust3r).encode(),),
        "realestate10k": (("https://x\n" + line.format(0) + line.format(33333)).encode(),),
    }


CAMERAS = _camera_contents()


@pytest.mark.parametrize("kind", CAMERAS)
def test_damaged_camera_files(kind: str) -> None:
    @fuzzed
    @given(damaged(CAMERAS[kind]))
    def trial(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "c").write_bytes(content)
            _read(Path(folder) / "c", kind)

    trial()


def _read(path: Path, kind: str) -> None:
    with one_line_at_most():
        track = read_track(path, kind, SIZE, path_only=True)
        assert track.frames > 0 and np.isfinite(track.c2w).all() and np.isfinite(track.K).all()
        np.testing.assert_allclose(np.linalg.det(track.c2w[:, :3, :3]), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["images.txt", "cameras.txt", "images.bin", "cameras.bin"])
def test_damaged_colmap_folders(name: str) -> None:
    def folder_of(here: Path) -> Path:
        if name.endswith(".bin"):
            return binary_colmap(here / "sparse")
        return colmap(here / "sparse", COLMAP_TEXTS["points in every second line"])

    with tempfile.TemporaryDirectory() as plain:
        good = (folder_of(Path(plain)) / name).read_bytes()

    @fuzzed
    @given(damaged((good,)))
    def trial(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = folder_of(Path(folder))
            (path / name).write_bytes(content)
            _read(path, "colmap")

    trial()


KEYS = st.sampled_from(
    ("frames", "transform_matrix", "w", "h", "fl_x", "poses", "focals", "start_pos", "fov", "x")
)
_plain = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=6)
_lists = st.lists(_plain, max_size=4)
_objects = st.dictionaries(KEYS, _plain | _lists | st.lists(_lists, max_size=4), max_size=6)
Json = (
    _plain | _lists | _objects | st.dictionaries(KEYS, _objects | st.lists(_objects, max_size=3), max_size=4)
)


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "colmap"])
def test_any_json_as_cameras(kind: str) -> None:
    @fuzzed
    @given(Json)
    def trial(value: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "c.json").write_text(json.dumps(value))
            _read(Path(folder) / "c.json", kind)

    trial()


def _lora_contents() -> tuple[bytes, ...]:
    down, up = torch.ones(2, 4), torch.ones(4, 2)
    layers = ({"unet.a.lora_A.weight": down, "unet.a.lora_B.weight": up},)
    kohya = {
        "lora_unet_a.lora_down.weight": down,
        "lora_unet_a.lora_up.weight": up,
        "lora_unet_a.alpha": torch.ones(()),
    }
    stream = io.BytesIO()
    torch.save(layers[0], stream)
    return (*(save(layer) for layer in layers), save(kohya, metadata={"format": "pt"}), stream.getvalue())


@fuzzed
@given(damaged(_lora_contents()))
def test_damaged_loras(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lora.safetensors"
        path.write_bytes(content)
        with one_line_at_most():
            check_lora_content(path)


def _picture_contents() -> tuple[bytes, ...]:
    found = []
    for kind, mode in (
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("JPEG", "RGB"),
        ("WEBP", "RGB"),
        ("TIFF", "L"),
        ("GIF", "P"),
    ):
        stream = io.BytesIO()
        profile = (Path(__file__).parent / "display_p3.icc").read_bytes() if kind == "PNG" else None
        Image.effect_noise((80, 70), 60).convert(mode).save(stream, format=kind, icc_profile=profile)
        found.append(stream.getvalue())
    return tuple(found)


@fuzzed
@given(damaged(_picture_contents()))
@pytest.mark.filterwarnings("ignore")  # of Pillow, about damage
def test_damaged_photos(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.png"
        path.write_bytes(content)
        with one_line_at_most():
            photo = load_photo(path)
            assert photo.rgb.dtype == np.uint8 and min(photo.width, photo.height) >= 64


def _exr_contents() -> tuple[bytes, ...]:
    plane = np.linspace(1, 2, 64, dtype=np.float32).reshape(8, 8)
    kinds: tuple[dict[str, np.ndarray], ...] = (
        {"Z": plane},
        {"R": plane, "G": plane, "B": plane, "A": plane},
    )
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for channels in kinds:
            write_exr(Path(folder) / "a.exr", **channels)
            found.append((Path(folder) / "a.exr").read_bytes())
    return tuple(found)


@pytest.mark.parametrize("read", [exr_size, exr_depth, exr_colour, exr_mask])
def test_damaged_exr(read: Callable[[Path], Any]) -> None:
    @fuzzed
    @given(damaged(_exr_contents()))
    def trial(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.exr"
            path.write_bytes(content)
            with one_line_at_most():
                read(path)

    trial()


@fuzzed
@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=9, unique=True), st.text("abc_v1-", max_size=6))
def test_frame_numbers_are_found_whatever_stands_around_them(numbers: list[int], word: str) -> None:
    names = [f"{word}x{number}y{word}" for number in numbers]
    assert frame_numbers(names) == numbers


@fuzzed
@given(content=damaged(tuple(pack(blend("//red.png", "/kit.blend")) for pack in PACKINGS.values())))
def test_damaged_blends(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, one_line_at_most():
        path = Path(folder, "scene.blend")
        path.write_bytes(content)
        assert referenced_files(path) == ()
