"""Meshes as other programs write them: colours, holes and places as they mean them, or a refusal by name."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from plyfile import PlyData

from i2v3d.errors import InputError
from i2v3d.scene.mesh_files import check_mesh, copy_mesh, taken_off

HERE, ROOT = Path(__file__).parent / "mesh", Path(__file__).parents[2]
CAP = 10**5
RED, GREEN, BLUE, WHITE, YELLOW = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (1, 1, 0)
QUAD = ((-0.5, 0, 0), (0.5, 0, 0), (0.5, 0, 1), (-0.5, 0, 1))  # seen along +y
FAR_M = (1e6, 2e6, 200.0)


def ply(
    vertex: str,
    face: str,
    vertices: list[str],
    faces: list[str],
    comments: str = "",
) -> str:
    lines = ["ply", "format ascii 1.0", *filter(None, [comments]), f"element vertex {len(vertices)}"]
    lines += [f"property {name}" for name in ("double x", "double y", "double z", *vertex.split(", "))[:None]]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    lines += [f"property {name}" for name in face.split(", ") if name]
    return (
        "\n".join([line for line in lines if line != "property "] + ["end_header", *vertices, *faces]) + "\n"
    )


def corners(extra: list[str], offset: tuple[float, float, float] = (0, 0, 0)) -> list[str]:
    rows = [" ".join(repr(float(v + o)) for v, o in zip(corner, offset, strict=True)) for corner in QUAD]
    return [f"{row} {more}".strip() for row, more in zip(rows, extra, strict=True)]


def colours(*values: str) -> list[str]:
    return list(values) if len(values) == 4 else [values[0], values[1], values[1], values[0]]


def picture(folder: Path, name: str, *pixels: tuple[int, ...]) -> None:
    """One row of pixels, left to right."""
    mode = "RGBA" if len(pixels[0]) == 4 else "RGB"
    image = Image.new(mode, (len(pixels), 1))
    image.putdata(list(pixels))
    image.resize((16 * len(pixels), 16), Image.Resampling.NEAREST).save(folder / name)


def obj(
    material: str, colour: list[str] | None = None, offset: tuple[float, float, float] = (0, 0, 0)
) -> str:
    """The quad, y up."""
    lines = ["mtllib m.mtl", "usemtl m"] if material else []
    for number, (x, y, z) in enumerate(QUAD):
        more = f" {colour[number]}" if colour else ""
        lines.append(f"v {x + offset[0]!r} {z + offset[2]!r} {-y + offset[1]!r}{more}")
    return "\n".join([*lines, "vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1", "f 1/1 2/2 3/3 4/4"]) + "\n"


def write_kinds(folder: Path) -> None:
    """Files that are shorter to make than to keep."""
    picture(folder, "two.png", (255, 0, 0), (0, 0, 255))
    picture(folder, "hole.png", (255, 255, 255, 0), (255, 255, 255, 255))
    picture(folder, "grey_hole.png", (0, 0, 0), (255, 255, 255))
    picture(folder, "red.png", (255, 0, 0))
    picture(folder, "blue.png", (0, 0, 255))
    faces = ["4 0 1 2 3"]
    rgb = "{0} red, {0} green, {0} blue"
    bytes_ = colours("255 0 0", "0 0 255")
    (folder / "floats_255.ply").write_text(ply(rgb.format("float"), "", corners(bytes_), faces))
    (folder / "floats_1.ply").write_text(
        ply(rgb.format("float"), "", corners(colours("1 0 0", "0 0 1")), faces)
    )
    (folder / "ushort.ply").write_text(
        ply(rgb.format("ushort"), "", corners(colours("65535 0 0", "0 0 65535")), faces)
    )
    diffuse = "uchar diffuse_red, uchar diffuse_green, uchar diffuse_blue"
    (folder / "diffuse.ply").write_text(ply(diffuse, "", corners(bytes_), faces))
    texture = "comment TextureFile two.png"
    wedge = ["4 0 1 2 3 8 0 0 1 0 1 1 0 1"]
    blank = ["", "", "", ""]
    (folder / "wedge.ply").write_text(ply("", "list uchar float texcoord", corners(blank), wedge, texture))
    by_vertex = corners(["0 0", "1 0", "1 1", "0 1"])
    (folder / "vertex_uv.ply").write_text(ply("float s, float t", "", by_vertex, faces, texture))
    both = "comment TextureFile red.png\ncomment TextureFile blue.png"
    halves = ["3 0 1 2 6 0 0 1 0 1 1 1", "3 0 2 3 6 0 0 1 1 0 1 0"]
    numbered = "list uchar float texcoord, int texnumber"
    (folder / "two_textures.ply").write_text(ply("", numbered, corners(blank), halves, both))
    (folder / "far.ply").write_text(ply(rgb.format("uchar"), "", corners(bytes_, FAR_M), faces))
    (folder / "m.mtl").write_text(
        "newmtl m\nKd 1 1 1\nmap_Kd two.png\nmap_d grey_hole.png\nmap_Bump gone.png\n"
    )
    (folder / "holes.obj").write_text(obj("m"))
    (folder / "crlf_255.obj").write_text(obj("", colours("255 0 0", "0 0 255")).replace("\n", "\r\n"))
    (folder / "over_1.obj").write_text(obj("", colours("1.2 -0.1 0", "0 0 1.05")))
    (folder / "far.obj").write_text(obj("", colours("1 0 0", "0 0 1"), FAR_M))
    for name, mode, alpha in (
        ("blend", "BLEND", "hole.png"),
        ("lit_blend", "BLEND", "hole.png"),
        ("opaque", None, "hole.png"),
    ):
        textured_glb(folder / f"{name}.glb", folder / alpha, mode)
    textured_glb(folder / "fallback.glb", folder / "two.png", None, basis=True)
    solid = trimesh.creation.box((1, 1, 1))
    solid.export(folder / "box.stl")
    (folder / "text.stl").write_text(trimesh.exchange.stl.export_stl_ascii(solid))
    solid.export(folder / "box.off")


def textured_glb(path: Path, texture: Path, mode: str | None, basis: bool = False) -> None:
    """The quad with a picture; basis: its texture is compressed, and the picture what is there beside."""
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.open(texture), alphaMode=mode, doubleSided=True, metallicFactor=0.0
    )
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    points = np.array([(x, z, -y) for x, y, z in QUAD])
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    mesh = trimesh.Trimesh(points, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)
    data = mesh.export(file_type="glb")
    if basis:
        data = with_basis(data)
    path.write_bytes(data)


def with_basis(data: bytes) -> bytes:
    (length,) = struct.unpack_from("<I", data, 12)
    gltf, rest = json.loads(data[20 : 20 + length]), data[20 + length :]
    gltf["images"].append(gltf["images"][0])
    gltf["textures"][0]["extensions"] = {"KHR_texture_basisu": {"source": 1}}
    gltf["extensionsUsed"] = gltf["extensionsRequired"] = ["KHR_texture_basisu"]
    text = json.dumps(gltf).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(rest))
    return head + struct.pack("<I4s", len(text), b"JSON") + text + rest


# ---------------------------------------------------------------- seen by Blender, all in one process
@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("meshes") / "all"
    shutil.copytree(HERE, folder)
    write_kinds(folder)
    command = [sys.executable, "-m", "tests.support.mesh_pictures", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "seen.json").read_text())


CUBE, PLANE = (1, 1, 1), (1, 0, 1)
# What the left and the right third show, None for nothing.
SEEN: dict[str, tuple[Any, Any]] = {
    "blend.glb": (None, WHITE),
    "lit_blend.glb": (None, None),  # no light in this scene: black where it is, see below
    "opaque.glb": (WHITE, WHITE),
    "holes.obj": (None, BLUE),
    "emissive.glb": (YELLOW, BLUE),
    "unlit.glb": (YELLOW, BLUE),
    "trailing.glb": (YELLOW, BLUE),
    "webp.glb": (YELLOW, BLUE),
    "specgloss.glb": (YELLOW, BLUE),
    "negative_scale.glb": (BLUE, YELLOW),
    "texture_transform.glb": (BLUE, BLUE),
    "texcoord1.glb": (RED, RED),
    "factor_times_texture.glb": (RED, RED),
    "vertex_times_factor.glb": (BLUE, BLUE),
    "vertex_times_texture.glb": (RED, RED),
    "fallback.glb": (RED, BLUE),
    "polyhaven_exr_normal.obj": (YELLOW, BLUE),
    "two mats.obj": (RED, RED),
    "face_colors.ply": (BLUE, RED),
    "two_textures.ply": (RED, BLUE),
    "wedge.ply": (RED, BLUE),
    "vertex_uv.ply": (RED, BLUE),
    "vertexcolor_mask.fbx": (None, None),
    "draco.glb": (RED, RED),
}
GRADIENTS = ("floats_255.ply", "floats_1.ply", "ushort.ply", "diffuse.ply", "far.ply", "crlf_255.obj", "over_1.obj",
             "far.obj")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in SEEN if n not in ("vertexcolor_mask.fbx", "lit_blend.glb")])
def test_colours_and_holes_are_those_of_the_file(name: str, seen: dict[str, Any]) -> None:
    for side, expected in zip(("left", "right"), SEEN[name], strict=True):
        found = seen[name][side]
        if expected is None:
            assert found == [0, 0, 0, 0], side
        else:
            np.testing.assert_allclose(found, (*expected, 1), atol=0.02, err_msg=side)


@pytest.mark.slow
@pytest.mark.parametrize("name", GRADIENTS)
def test_vertex_colours_of_any_scale_and_place_are_seen(name: str, seen: dict[str, Any]) -> None:
    left, right = seen[name]["left"], seen[name]["right"]
    assert left[0] > 0.5 > left[2] and right[2] > 0.5 > right[0], (left, right)
    np.testing.assert_allclose(seen[name]["size_m"], PLANE, atol=1e-5)
    np.testing.assert_allclose(seen[name]["seen"], seen["stanford_quads_rgb.ply"]["seen"])


@pytest.mark.slow
def test_holes_are_holes_of_depth_and_masks(seen: dict[str, Any]) -> None:
    whole = seen["opaque.glb"]
    for name in ("blend.glb", "lit_blend.glb", "holes.obj"):
        for kind in ("seen", "foreground"):
            assert seen[name][kind] == pytest.approx(whole[kind] / 2, rel=0.1), (name, kind)
    assert 0.2 < seen["alpha_mask.glb"]["seen"] / whole["seen"] < 0.4
    assert seen["lit_blend.glb"]["right"][3] == pytest.approx(1) and seen["lit_blend.glb"]["left"][3] == 0


@pytest.mark.slow
def test_a_colour_layer_of_fbx_is_a_mask_and_solids_without_colours_are_grey(seen: dict[str, Any]) -> None:
    assert seen["vertexcolor_mask.fbx"]["seen"] > 0.1 and "error" not in seen["vertexcolor_mask.fbx"]
    for name in ("box.stl", "text.stl", "box.off"):
        np.testing.assert_allclose(seen[name]["left"], (0.8, 0.8, 0.8, 1), atol=1e-3)
        np.testing.assert_allclose(seen[name]["size_m"], CUBE, atol=1e-6)
    np.testing.assert_allclose(seen["draco.glb"]["size_m"], CUBE, atol=1e-3)


# ---------------------------------------------------------------- known without Blender
@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds") / "all"
    shutil.copytree(HERE, folder)
    write_kinds(folder)
    return folder


@pytest.mark.parametrize(("name", "y_up"), [("far.ply", False), ("far.obj", True)])
def test_far_meshes_are_brought_near_in_double_precision(
    name: str, y_up: bool, kinds: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = copy_mesh(kinds / name, tmp_path / "copy", CAP)
    if y_up:
        rows = [line.split()[1:4] for line in copy.read_text().splitlines() if line.startswith("v ")]
        points = np.array(rows, dtype=np.float64)[:, [0, 2, 1]] * [1, -1, 1]
    else:
        vertex = PlyData.read(copy)["vertex"]
        points = np.stack([vertex[axis] for axis in "xyz"], axis=-1).astype(np.float64)
    middle = np.array([0, 0, 0.5])
    np.testing.assert_allclose(points, np.array(QUAD) - middle, atol=1e-6)
    y = -FAR_M[1] if y_up else FAR_M[1]  # the file's z is towards the viewer
    np.testing.assert_allclose(taken_off(kinds / name, CAP), (FAR_M[0], y, FAR_M[2] + 0.5))
    assert "too far for single precision: it is moved to its origin" in caplog.text


def test_what_needs_no_change_is_copied_byte_by_byte(kinds: Path, tmp_path: Path) -> None:
    for name in (
        "alpha_mask.glb",
        "stanford_quads_rgb.ply",
        "polyhaven_exr_normal.obj",
        "vertexcolor_mask.fbx",
    ):
        assert copy_mesh(kinds / name, tmp_path / "copy", CAP).read_bytes() == (kinds / name).read_bytes()
        assert taken_off(kinds / name, CAP) == (0, 0, 0)
    assert (tmp_path / "copy" / "nor_gl_1k.exr").is_file()  # not shown, yet kept beside


def test_every_copy_is_good_again(kinds: Path, tmp_path: Path) -> None:
    good = [
        path for path in sorted(kinds.iterdir()) if path.suffix in (".glb", ".obj", ".ply", ".stl", ".off")
    ]
    for path in good:
        if path.stem in ("ktx2_basisu", "khr_meshopt"):
            continue
        facts = check_mesh(path, CAP)
        copy = copy_mesh(path, tmp_path / path.name.replace(".", "_"), CAP)
        again = check_mesh(copy, CAP)
        assert again.faces == facts.faces and not again.rewrite and not any(again.offset), path


def exr_texture(folder: Path) -> Path:
    (folder / "m.mtl").write_text("newmtl m\nmap_Kd a.png\n")
    (folder / "a.png").write_bytes(b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(64))
    (folder / "a.obj").write_text(obj("m"))
    return folder / "a.obj"


def cut_picture(folder: Path) -> Path:
    (folder / "m.mtl").write_text("newmtl m\nmap_Kd a.png\n")
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, format="PNG")
    (folder / "a.png").write_bytes(stream.getvalue()[:-800])
    (folder / "a.obj").write_text(obj("m"))
    return folder / "a.obj"


def required(name: str) -> Any:
    def write(folder: Path) -> Path:
        data = (HERE / "unlit.glb").read_bytes()
        (length,) = struct.unpack_from("<I", data, 12)
        gltf, rest = json.loads(data[20 : 20 + length]), data[20 + length :]
        gltf["extensionsUsed"] = gltf["extensionsRequired"] = [name]
        text = json.dumps(gltf).encode()
        text += b" " * (-len(text) % 4)
        head = struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(rest)) + struct.pack(
            "<I4s", len(text), b"JSON"
        )
        (folder / "a.glb").write_bytes(head + text + rest)
        return folder / "a.glb"

    return write


def kept(name: str) -> Any:
    return lambda folder: Path(shutil.copyfile(HERE / name, folder / name))


def content(name: str, data: bytes) -> Any:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


REFUSED: dict[str, tuple[Any, str]] = {
    "compressed texture": (kept("ktx2_basisu.glb"), r"is KTX2 \(Basis\), which is not read; export .* PNG"),
    "compressed mesh": (
        kept("khr_meshopt.glb"),
        "meshopt-compressed, which is not read; export it uncompressed",
    ),
    "unknown extension": (required("ACME_shapes"), "requires ACME_shapes, which is not read"),
    "ktx called png": (exr_texture, r"'a\.png' of mesh .* is KTX2"),
    "cut picture": (cut_picture, r"'a\.png' of mesh .* is damaged"),
    "splat": (
        content("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float f_dc_0\nend_header\n0\n"),
        "is a Gaussian splat",
    ),
    "cut stl": (
        content("a.stl", bytes(80) + struct.pack("<I", 9) + bytes(60)),
        "truncated: 144 bytes where 9",
    ),
    "empty off": (content("a.off", b"OFF\n0 0 0\n"), "has no faces|damaged"),
    "words": (content("a.off", b"hello"), "truncated or damaged"),
    "text fbx": (content("a.fbx", b"; FBX 7.4.0 project file\n"), "is a text FBX; export it as binary FBX"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_shown_is_refused_for_what_it_is(name: str, tmp_path: Path) -> None:
    write, message = REFUSED[name]
    path = write(tmp_path)
    with pytest.raises(InputError, match=message) as raised:
        check_mesh(path, CAP)
    assert "\n" not in str(raised.value) and str(tmp_path) in str(raised.value)
