"""User's meshes: good ones of every format arrive whole, broken ones are refused before Blender starts."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from i2v3d.blender import api
from i2v3d.errors import InputError
from i2v3d.scene.mesh_files import check_mesh, copy_mesh
from tests.blender.test_blender_errors import glb, not_finite, triangle_glb

CAP = 1000
TRIANGLE_OBJ = b"v 0 0 0\nv 1 0 0\nv 0 0 1\nf 1 2 3\n"


def fbx(*nodes: bytes, version: int = 7400) -> bytes:
    """A binary FBX of nodes made by `node`, whose offsets are corrected for where they stand."""
    header = b"Kaydara FBX Binary  \0\x1a\0" + struct.pack("<I", version)
    return header + _placed(nodes, len(header)) + bytes(160)


def node(name: str, *values: bytes, children: tuple[tuple, ...] = ()) -> tuple:
    return (name.encode(), values, children)


def _placed(nodes: tuple, at: int) -> bytes:
    out = b""
    for name, values, children in nodes:
        payload = b"".join(values)
        body_at = at + len(out) + 13 + len(name) + len(payload)
        nested = _placed(children, body_at) if children else b""
        out += struct.pack("<IIIB", body_at + len(nested), len(values), len(payload), len(name))
        out += name + payload + nested
    return out + bytes(13)


def doubles(*numbers: float) -> bytes:
    raw = np.array(numbers, "<f8").tobytes()
    return b"d" + struct.pack("<III", len(numbers), 0, len(raw)) + raw


def ints(*numbers: int) -> bytes:
    raw = np.array(numbers, "<i4").tobytes()
    return b"i" + struct.pack("<III", len(numbers), 0, len(raw)) + raw


def text(value: bytes) -> bytes:
    return b"S" + struct.pack("<I", len(value)) + value


def triangle_fbx(
    vertices: tuple[float, ...] = (0, 0, 0, 1, 0, 0, 0, 0, 1),
    corners: tuple[int, ...] = (0, 1, -3),
    picture: bytes | None = None,
) -> bytes:
    geometry = node(
        "Geometry",
        children=(node("Vertices", doubles(*vertices)), node("PolygonVertexIndex", ints(*corners))),
    )
    video = () if picture is None else (node("Video", children=(node("RelativeFilename", text(picture)),)),)
    return fbx(node("Objects", children=(geometry, *video)))


def ply(vertices: str = "0 0 0\n1 0 0\n0 0 1\n", faces: str = "3 0 1 2\n", count: int = 1) -> bytes:
    lines = ["ply", "format ascii 1.0", f"element vertex {vertices.count(chr(10))}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"element face {count}", "property list uchar int vertex_indices", "end_header", ""]
    return ("\n".join(lines) + vertices + faces).encode()


def binary_ply(corners: int = 3, cut: int = 0) -> bytes:
    """A little-endian PLY of one polygon, without its last `cut` bytes."""
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {corners}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    face = struct.pack(f"<B{corners}i", corners, *range(corners))
    return (header.encode() + np.eye(corners, 3, dtype="<f4").tobytes() + face)[: -cut or None]


def with_materials(statement: bytes) -> Callable[[Path], bytes]:
    """An OBJ whose material library has one more statement."""

    def write(folder: Path) -> bytes:
        (folder / "a.mtl").write_bytes(b"newmtl m\nKd 1 0 0\n" + statement + b"\n")
        return b"mtllib a.mtl\n" + TRIANGLE_OBJ

    return write


def not_a_picture(folder: Path) -> bytes:
    (folder / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return with_materials(b"map_Kd cut.png")(folder)


def constant(content: bytes) -> Callable[[Path], bytes]:
    return lambda folder: content


def triangle_gltf(buffer: str) -> bytes:
    """The description of one triangle whose data lie elsewhere."""
    whole = triangle_glb()
    (length,) = struct.unpack_from("<I", whole, 12)
    gltf = json.loads(whole[20 : 20 + length])
    gltf["buffers"][0]["uri"] = buffer
    return json.dumps(gltf).encode()


BROKEN = {
    "empty": ("a.obj", constant(b""), "is empty"),
    "unknown suffix": ("a.dae", constant(b"<COLLADA>"), r"suffix '\.dae'; expected one of \.obj"),
    "glb called obj": ("a.obj", constant(triangle_glb()), r"holds \.glb data"),
    "fbx called glb": ("a.glb", constant(triangle_fbx()), r"holds \.fbx data"),
    "blend called fbx": ("a.fbx", constant(b"BLENDER-v405"), r"holds \.blend data"),
    "text called glb": ("a.glb", constant(TRIANGLE_OBJ), r"does not begin like a \.glb"),
    "text fbx": ("a.fbx", constant(b"; FBX 7.4.0 project file\n"), "export it as binary FBX"),
    "obj of noise": ("a.obj", constant(b"hello\nworld\n"), "holds no vertices"),
    "obj of zeros": ("a.obj", constant(TRIANGLE_OBJ + b"\n" * 80 + b"\0"), "holds zero bytes"),
    "obj without faces": ("a.obj", constant(b"v 0 0 0\n"), "has no faces"),
    "obj cut in a vertex": ("a.obj", constant(TRIANGLE_OBJ + b"v 1 2"), "fewer than three numbers"),
    "obj cut in a face": ("a.obj", constant(TRIANGLE_OBJ + b"f 1 2"), "'f 1 2' has no 3 corners"),
    "obj of words": ("a.obj", constant(TRIANGLE_OBJ + b"v a b c\n"), "truncated or damaged"),
    "obj with words in faces": ("a.obj", constant(TRIANGLE_OBJ + b"f a b c\n"), "no numbers"),
    "obj not finite": ("a.obj", constant(b"v nan 0 0\n" + TRIANGLE_OBJ), "1 vertices that are not finite"),
    "obj index": ("a.obj", constant(TRIANGLE_OBJ + b"f 1/1 2/2 9/3\n"), "refers to vertex 8 but has 3"),
    "obj zero": ("a.obj", constant(TRIANGLE_OBJ + b"f 0 1 2\n"), "counts from 1"),
    "obj relative": ("a.obj", constant(b"f -1 -2 -3\n" + TRIANGLE_OBJ), "vertex -3 of 0 before it"),
    "obj over the cap": ("a.obj", constant(TRIANGLE_OBJ + b"f 1 2 3\n" * CAP), r"max_faces = 1000"),
    "library missing": ("a.obj", constant(b"mtllib no.mtl\n" + TRIANGLE_OBJ), "library 'no.mtl' .* missing"),
    "texture missing": ("a.obj", with_materials(b"map_Kd -s 1 1 1 gone.png"), "texture 'gone.png' .* missing"),
    "texture outside": ("a.obj", with_materials(b"map_Kd ../gone.png"), "lies outside its folder"),
    "texture damaged": ("a.obj", not_a_picture, "texture 'cut.png' .* damaged"),
    "glb truncated": ("a.glb", constant(triangle_glb()[:-20]), "truncated or damaged"),
    "glb not finite": ("a.glb", constant(not_finite()), "1 vertices that are not finite"),
    "glb over the cap": ("a.glb", constant(triangle_glb(indices=(0, 1, 2) * (CAP + 1))), "1001 triangles"),
    "gltf buffer missing": (
        "a.gltf",
        constant(triangle_gltf("gone.bin")),
        "buffer 'gone.bin' .* missing",
    ),
    "meshopt": (
        "a.glb",
        constant(glb({"asset": {}, "extensionsUsed": ["EXT_meshopt_compression"]})),
        "meshopt-compressed",
    ),
    "fbx truncated": ("a.fbx", constant(triangle_fbx()[:-250]), "truncated or damaged"),
    "fbx too old": ("a.fbx", constant(fbx(version=6100)), "FBX version 6100"),
    "fbx without faces": ("a.fbx", constant(fbx(node("Objects"))), "has no faces"),
    "fbx not finite": ("a.fbx", constant(triangle_fbx((np.inf, *[0.0] * 8))), "not finite"),
    "fbx index": ("a.fbx", constant(triangle_fbx(corners=(0, 1, -8))), "refers to vertex 7 but has 3"),
    "fbx texture": ("a.fbx", constant(triangle_fbx(picture=rb"C:\art\gone.png")), "gone.png' .* missing"),
    "ply cut in its header": ("a.ply", constant(ply()[:60]), "header does not end"),
    "ply truncated": ("a.ply", constant(ply(count=2)), "truncated or damaged"),
    "ply truncated in its faces": ("a.ply", constant(binary_ply(cut=6)), "truncated or damaged"),
    "ply truncated in its vertices": ("a.ply", constant(binary_ply(cut=30)), "truncated or damaged"),
    "ply without faces": ("a.ply", constant(ply(faces="", count=0)), "has no faces"),
    "ply not finite": ("a.ply", constant(ply("nan 0 0\n1 0 0\n0 0 1\n")), "not finite"),
    "ply index": ("a.ply", constant(ply(faces="3 0 1 5\n")), "refers to vertex 5 but has 3"),
    "ply of lines": ("a.ply", constant(ply(faces="2 0 1\n")), "a face has 2 corners"),
    "ply over the cap": ("a.ply", constant(ply(count=CAP + 1)), "1001 triangles"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_meshes_are_refused_in_one_line_that_names_them(kind: str, tmp_path: Path) -> None:
    name, content, message = BROKEN[kind]
    path = tmp_path / name
    path.write_bytes(content(tmp_path))
    with pytest.raises(InputError, match=message) as raised:
        check_mesh(path, CAP)
    assert str(path.parent) in str(raised.value) and "\n" not in str(raised.value)


def test_five_million_faces_are_refused_from_the_header(tmp_path: Path) -> None:
    """Without reading what the header of a binary file promises."""
    (tmp_path / "huge.ply").write_bytes(ply(count=5_000_001))
    with pytest.raises(InputError, match=r"5000001 triangles, more than scene\.max_faces = 5000000"):
        check_mesh(tmp_path / "huge.ply", 5_000_000)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        check_mesh(tmp_path / "gone.glb", CAP)


def test_polygons_count_as_fans(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_bytes(
        b"v 0 0 0\nv 1 0 0\nv 1 0 1\nv 0 0 1\nf -4//1 -3//1 -2 -1\nf 1/1/1 2 3\n"
    )
    (tmp_path / "a.fbx").write_bytes(triangle_fbx((0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1), (0, 1, 2, -4)))
    (tmp_path / "a.ply").write_bytes(ply("0 0 0\n1 0 0\n1 0 1\n0 0 1\n", "4 0 1 2 3\n3 0 1 2\n", 2))
    assert [check_mesh(tmp_path / f"a.{kind}", CAP).faces for kind in ("obj", "fbx", "ply")] == [3, 2, 3]
    for corners in (3, 4, 5):
        (tmp_path / "b.ply").write_bytes(binary_ply(corners))
        assert check_mesh(tmp_path / "b.ply", CAP).faces == corners - 2


def textured_box() -> trimesh.Trimesh:
    """A box 1 x 2 x 3 with a picture on it."""
    mesh = trimesh.creation.box((1.0, 2.0, 3.0))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8))
    mesh.visual = trimesh.visual.TextureVisuals(uv=np.asarray(mesh.vertices)[:, :2], image=picture)
    return mesh


def test_a_copy_brings_its_companions(tmp_path: Path) -> None:
    textured_box().export(tmp_path / "box.obj")
    facts = check_mesh(tmp_path / "box.obj", CAP)
    assert sorted(file.suffix for file in facts.companions) == [".mtl", ".png"]
    copied = copy_mesh(tmp_path / "box.obj", tmp_path / "scene" / "meshes", CAP)
    assert check_mesh(copied, CAP).faces == facts.faces == 12


# What each format calls up: the box is 1 (x), 2 (y), 3 (z) in its file.
UP = {"obj": (1, 3, 2), "glb": (1, 3, 2), "gltf": (1, 3, 2), "ply": (1, 2, 3)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", UP)
def test_blender_reads_what_was_written(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"box.{kind}"
    if kind == "gltf":
        for name, content in trimesh.exchange.gltf.export_gltf(trimesh.Scene(textured_box())).items():
            (tmp_path / name).write_bytes(content)
        (tmp_path / "model.gltf").rename(path)
    else:
        textured_box().export(path)
    found = api.inspect_mesh(path, max_faces=CAP)
    assert tuple(np.ptp(found.vertices_m, axis=0)) == pytest.approx(UP[kind])
    triangles = found.vertices_m[found.faces]
    areas = np.linalg.norm(
        np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1
    )
    assert areas.sum() / 2 == pytest.approx(22.0)
    assert found.actions == {} and found.shape_keys == () and found.bones == ()
