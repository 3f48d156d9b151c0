"""An image-to-3D program as a command: what it gets, and every way in which it can go wrong."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from i2v3d.config.scene import GeneratorConfig
from i2v3d.errors import ConfigError, InputError
from i2v3d.scene.foreground.generator import check_generator, cutout, generate_mesh

MAX_FACES = 1000
BOX = "import sys, trimesh; trimesh.creation.box((1, 1, 2)).export(sys.argv[2]); print('made a box of', sys.argv[1])"


def config(tmp_path: Path, code: str, words: str = "{image} {mesh}", **changes: object) -> GeneratorConfig:
    script = tmp_path / "some program.py"
    script.write_text(code)
    values = {"command": f"{sys.executable} '{script}' {words}", "result": "mesh.glb", "timeout_s": 60.0}
    return GeneratorConfig(**(values | changes))  # type: ignore[arg-type]


def photo() -> tuple[np.ndarray, np.ndarray]:
    rgb = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    mask = np.zeros((60, 90), bool)
    mask[5:45, 40:60] = True
    return rgb, mask


def run(cfg: GeneratorConfig, tmp_path: Path) -> Path:
    return generate_mesh(cfg, *photo(), tmp_path / "work", MAX_FACES)


@pytest.mark.slow
def test_a_program_turns_the_cut_out_into_a_mesh(tmp_path: Path) -> None:
    mesh = run(config(tmp_path, BOX), tmp_path)
    assert mesh == tmp_path / "work" / "mesh.glb" and len(trimesh.load(mesh).to_geometry().faces) == 12
    assert "made a box of" in (tmp_path / "work" / "program.log").read_text()
    with Image.open(tmp_path / "work" / "image.png") as picture:
        assert picture.mode == "RGBA" and picture.size[0] == picture.size[1] == 48


def test_the_cut_out_is_the_object_centred_with_a_margin() -> None:
    rgb, mask = photo()
    picture = np.asarray(cutout(rgb, mask))
    alpha = picture[..., 3] > 0
    rows, columns = np.nonzero(alpha)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 43, 14, 33)
    np.testing.assert_array_equal(picture[alpha][:, :3], rgb[mask])


@pytest.mark.slow
def test_programs_may_choose_names_inside_their_folder(tmp_path: Path) -> None:
    code = "import sys, pathlib, trimesh; p = pathlib.Path(sys.argv[2]) / '0'; p.mkdir(exist_ok=True); " \
           "trimesh.creation.box().export(p / 'mesh.obj')"  # fmt: skip
    mesh = run(config(tmp_path, code, "{image} {folder}", result="0/mesh.obj"), tmp_path)
    assert mesh.suffix == ".obj"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import sys; print('no GPU'); sys.exit(3)",
            r"failed with exit status 3, saying: no GPU; see .*program\.log",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "failed with signal SIGSEGV"),
        ("pass", r"ended well but wrote no mesh\.glb \(nothing instead\)"),
        ("import sys; open(sys.argv[2] + '.tmp', 'w').close()", r"\(mesh\.glb\.tmp instead\)"),
        ("import sys; open(sys.argv[2], 'w').close()", "wrote a mesh that cannot be used: .* is empty"),
        ("import sys; open(sys.argv[2], 'w').write('x' * 99)", "wrote a mesh that cannot be used"),
    ],
)
def test_a_program_that_does_not_do_its_work_is_an_error(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        run(config(tmp_path, code), tmp_path)
    assert "\n" not in str(refused.value)


def test_a_program_that_makes_too_many_triangles_is_an_error(tmp_path: Path) -> None:
    trimesh.creation.icosphere(3).export(tmp_path / "heavy.glb")
    code = f"import shutil, sys; shutil.copy({str(tmp_path / 'heavy.glb')!r}, sys.argv[2])"
    with pytest.raises(InputError, match="1280 triangles, more than"):
        run(config(tmp_path, code), tmp_path)


@pytest.mark.slow
def test_a_program_that_hangs_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "(pathlib.Path(sys.argv[1]).parent / 'child').write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    start = time.monotonic()
    with pytest.raises(InputError, match=r"took more than 3 s and was stopped; raise .*timeout_s"):
        run(config(tmp_path, code, timeout_s=3.0), tmp_path)
    assert time.monotonic() - start < 20
    child = int((tmp_path / "work" / "child").read_text())
    end = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < end, "its child goes on"
        time.sleep(0.1)


def _runs(process: int) -> bool:
    """Whether a process is there and no zombie."""
    status = Path(f"/proc/{process}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("command", "result", "message"),
    [
        (None, "mesh.glb", "command is empty"),
        ("  ", "mesh.glb", "command is empty"),
        ("python x.py {mesh}", "mesh.glb", "must hold {image}"),
        ("python x.py {image}", "mesh.glb", "either {mesh} or {folder}"),
        ("python x.py {image} {mesch}", "mesh.glb", "holds {mesch}; known"),
        ("python 'x.py {image} {mesh}", "mesh.glb", "cannot be read"),
        ("python x.py {image {mesh}", "mesh.glb", "cannot be read"),
        ("no_such_program {image} {mesh}", "mesh.glb", "no_such_program, which is no program here"),
        ("sh x {image} {mesh}", "../mesh.glb", "expected a path inside"),
        ("sh x {image} {mesh}", "mesh.usd", "ends in .obj, .glb"),
    ],
)
def test_a_wrong_command_is_refused_before_any_work(command: str | None, result: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_generator(GeneratorConfig(command=command, result=result, timeout_s=1.0))
    assert message in str(refused.value)


@pytest.mark.slow
def test_old_results_do_not_count(tmp_path: Path) -> None:
    run(config(tmp_path, BOX), tmp_path)
    with pytest.raises(InputError, match="wrote no mesh"):
        run(config(tmp_path, "pass"), tmp_path)
    assert (tmp_path / "work" / "image.png").is_file()
