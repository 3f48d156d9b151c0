"""Renders as artists hand them over: frames in their order, passes paired by number, every common file read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_spec import CameraKey, SceneSpec
from i2v3d.errors import InputError
from i2v3d.scene.artist_renders import FOLDERS, check_render_folder, import_renders
from i2v3d.scene.frame_numbers import frame_numbers

WIDTH, HEIGHT, FRAMES = 48, 32, 4
NEAR_M, FAR_M = 2.0, 6.0
EYE = tuple(tuple(row) for row in np.eye(4).tolist())
SPEC = SceneSpec(
    "renders", WIDTH, HEIGHT, FRAMES, 8, WIDTH / 2, HEIGHT / 2, (CameraKey(1, EYE, 60.0, "LINEAR"),), ()
)
Names = Callable[[int], str]
numbered: Names = "{:04d}".format


def foreground(frame: int) -> np.ndarray:
    """A square that moves to the right."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:20, 4 * frame : 4 * frame + 12] = True
    return mask


def depth_m(frame: int) -> np.ndarray:
    return np.where(foreground(frame), NEAR_M, FAR_M).astype(np.float32)


def colour(frame: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), 20 * frame, np.uint8)


def write_exr(path: Path, **channels: np.ndarray) -> None:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    plain = {name.replace("__", "."): np.ascontiguousarray(values) for name, values in channels.items()}
    with OpenEXR.File(header, plain) as file:
        file.write(str(path))


def write(folder: Path, name: Names = numbered) -> Path:
    """Plain renders: PNG, and depth in metres as EXR."""
    for pass_name in FOLDERS:
        (folder / pass_name).mkdir(parents=True)
    for frame in range(1, FRAMES + 1):
        Image.fromarray(colour(frame)).save(folder / f"ani/{name(frame)}.png")
        write_exr(folder / f"depth/{name(frame)}.exr", Z=depth_m(frame))
        Image.fromarray(foreground(frame).astype(np.uint8) * 255).save(folder / f"fg_mask/{name(frame)}.png")
        Image.new("L", (WIDTH, HEIGHT), 255).save(folder / f"mask/{name(frame)}.png")
    return folder


def each(folder: Path, pass_name: str, suffix: str, save: Callable[[Path, int], object]) -> Path:
    """Writes a pass anew."""
    for old in (folder / pass_name).iterdir():
        old.unlink()
    for frame in range(1, FRAMES + 1):
        save(folder / pass_name / f"{frame:04d}{suffix}", frame)
    return folder


def depth_exr(**channels: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], Path]:
    def change(folder: Path) -> Path:
        def save(path: Path, frame: int) -> None:
            write_exr(path, **{name: make(depth_m(frame)) for name, make in channels.items()})

        return each(folder, "depth", ".exr", save)

    return change


def same(values: np.ndarray) -> np.ndarray:
    return values


def half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16)


def linear(frame: int) -> np.ndarray:
    value = colour(frame)[..., 0] / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def colour_exr(prefix: str) -> Callable[[Path], Path]:
    def save(path: Path, frame: int) -> None:
        write_exr(
            path, **{f"{prefix}{c}": linear(frame) for c in "RGB"}, **{f"{prefix}A": linear(frame) * 0 + 1}
        )

    return lambda folder: each(folder, "ani", ".exr", save)


def mask_in_alpha(white: int) -> Callable[[Path], Path]:
    def save(path: Path, frame: int) -> None:
        rgba = np.full((HEIGHT, WIDTH, 4), white, np.uint8)
        rgba[..., 3] = foreground(frame) * 255
        Image.fromarray(rgba).save(path)

    return lambda folder: each(folder, "fg_mask", ".png", save)


def mask_exr(folder: Path) -> Path:
    def save(path: Path, frame: int) -> None:
        write_exr(
            path, **{c: foreground(frame).astype(np.float32) for c in "RGB"}, A=np.ones((HEIGHT, WIDTH), "f4")
        )

    return each(folder, "fg_mask", ".exr", save)


def opaque_rgba_mask(folder: Path) -> Path:
    def save(path: Path, frame: int) -> None:
        Image.fromarray(foreground(frame).astype(np.uint8) * 255).convert("RGBA").save(path)

    return each(folder, "fg_mask", ".png", save)


def labels(folder: Path) -> Path:
    def save(path: Path, frame: int) -> None:
        Image.fromarray(foreground(frame).astype(np.uint8)).save(path)

    return each(folder, "fg_mask", ".png", save)


def litter(folder: Path) -> Path:
    """What macOS and Windows leave."""
    for pass_name in FOLDERS:
        for file in list((folder / pass_name).iterdir()):
            (file.parent / f"._{file.name}").write_bytes(b"\0\5\26\7")
        (folder / pass_name / ".DS_Store").write_bytes(b"x")
        (folder / pass_name / "Thumbs.db").write_bytes(b"x")
    return folder


KINDS: dict[str, Callable[[Path], Path]] = {
    "as they should be": same,
    "Blender's V": depth_exr(V=same),
    "Blender's layer": depth_exr(ViewLayer__Depth__Z=same),
    "Blender's layer beside colour": depth_exr(
        ViewLayer__Depth__Z=same, ViewLayer__Combined__R=half, ViewLayer__Combined__G=half
    ),
    "R = G = B": depth_exr(R=same, G=same, B=same),
    "Y": depth_exr(Y=same),
    "half floats": depth_exr(Z=half),
    "colour as EXR": colour_exr(""),
    "colour as a layer": colour_exr("ViewLayer__Combined__"),
    "mask in white's alpha": mask_in_alpha(255),
    "mask in black's alpha": mask_in_alpha(0),
    "mask as EXR": mask_exr,
    "mask as opaque RGBA": opaque_rgba_mask,
    "mask of 0 and 1": labels,
    "litter": litter,
}


@pytest.mark.parametrize("kind", KINDS)
def test_renders_enter_whole(kind: str, tmp_path: Path) -> None:
    folder = KINDS[kind](write(tmp_path / "mine"))
    found = import_renders(folder, SPEC, tmp_path / "out")
    assert found["depth_range_m"] == (NEAR_M, FAR_M)
    render = RenderFolder(tmp_path / "out")
    for frame in range(1, FRAMES + 1):
        np.testing.assert_array_equal(render.foreground(frame), foreground(frame))
        np.testing.assert_array_equal(render.depth_m(frame), depth_m(frame))
        assert np.abs(render.rgb(frame).astype(int) - colour(frame)).max() <= 1


NAMES: dict[str, Names] = {
    "counted from 0": lambda n: f"{n - 1:04d}",
    "every fourth, with a version": lambda n: f"shot1_f{4 * n}_v2",
    "without zeros": lambda n: f"frame_{n + 8}",
    "a number before": lambda n: f"2024-05-01_{n}",
    "letters alone beside": lambda n: f"{n}_final",
}


@pytest.mark.parametrize("kind", NAMES)
def test_frames_come_in_the_order_of_their_numbers(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", NAMES[kind])
    found = check_render_folder(folder, FRAMES, (WIDTH, HEIGHT))
    for files in found.values():
        assert [file.stem for file in files] == [NAMES[kind](n) for n in range(1, FRAMES + 1)]


def test_the_number_of_a_name_is_the_one_that_differs() -> None:
    assert frame_numbers(["shot1_f12_v2", "shot1_f16_v2", "shot1_f4_v2"]) == [12, 16, 4]
    assert frame_numbers(["a_0007"]) == [7] and frame_numbers(["9"]) == [9]
    for names in (["a", "b"], ["a1", "b2"], ["1_1", "2_2"], ["a1", "a01"], []):
        assert frame_numbers(names) is None


def renamed(pass_name: str, step: Callable[[int], str]) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        for file in list((folder / pass_name).iterdir()):
            file.rename(file.with_stem(f"new_{step(int(file.stem))}"))

    return change


def everywhere(change: Callable[[str], Callable[[Path], object]]) -> Callable[[Path], object]:
    return lambda folder: [change(name)(folder) for name in FOLDERS]


def coloured_depth(folder: Path) -> Path:
    turbo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    return each(folder, "depth", ".png", lambda path, frame: turbo.save(path))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "offset passes": (
        renamed("ani", lambda n: f"{n - 1:04d}"),
        "have frames 0 to 3 in ani but 1 to 4 in depth",
    ),
    "a gap": (
        everywhere(lambda name: renamed(name, lambda n: f"{n + (n > 2):04d}")),
        "1, 2, 4, 5 and lack 3",
    ),
    "two names": (
        lambda folder: (folder / "ani/0003.png").rename(folder / "ani/take2.png"),
        "names that differ in more than the number .*0001.png",
    ),
    "a frame twice": (
        lambda folder: (folder / "ani/0003.png").rename(folder / "ani/02.png"),
        "or two of one frame",
    ),
    "small EXR": (
        lambda folder: write_exr(folder / "depth/0003.exr", Z=np.ones((16, 24), np.float32)),
        r"depth/0003\.exr is 24x16 but the scene is 48x32",
    ),
    "small PNG": (
        lambda folder: Image.new("L", (24, 16)).save(folder / "mask/0002.png"),
        r"mask/0002\.png is 24x16",
    ),
    "no EXR": (
        lambda folder: (folder / "depth/0001.exr").write_bytes(b"v/1"),
        r"0001\.exr is no readable picture",
    ),
    "kinds that are not read": (
        lambda folder: [file.rename(file.with_suffix(".webp")) for file in (folder / "ani").iterdir()],
        r"ani hold no picture of a kind that is read \(\.png, ",
    ),
    "a folder lacking": (lambda folder: (folder / "mask").rename(folder / "masks"), "lack the folder mask"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused_before_any_job(kind: str, tmp_path: Path) -> None:
    change, message = REFUSED[kind]
    folder = write(tmp_path / "mine")
    change(folder)
    with pytest.raises(InputError, match=message) as raised:
        check_render_folder(folder, FRAMES, (WIDTH, HEIGHT))
    assert "\n" not in str(raised.value) and str(folder) in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (depth_exr(Z=lambda z: z * 0), "depths that are not positive"),
        (depth_exr(Alpha=same), "has the channels Alpha; expected one of depth"),
        (depth_exr(a__Depth__Z=same, b__Depth__Z=same), "expected one of depth"),
        (depth_exr(R=same, G=half, B=lambda z: 2 * z), "expected one of depth"),
        (coloured_depth, "is coloured; render depth in grey"),
    ],
)
def test_depth_that_means_nothing_is_refused_before_any_job(
    change: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        check_render_folder(change(write(tmp_path / "mine")), FRAMES, (WIDTH, HEIGHT))


def test_far_bright_depth_and_full_masks_are_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    dark = each(
        write(tmp_path / "a"),
        "depth",
        ".png",
        lambda path, frame: Image.fromarray((depth_m(frame) * 40).astype(np.uint8)).save(path),
    )
    import_renders(dark, SPEC, tmp_path / "out_a")
    assert "near must be bright in depth" in caplog.text
    full = each(
        write(tmp_path / "b"),
        "fg_mask",
        ".png",
        lambda path, frame: Image.new("L", (WIDTH, HEIGHT), 255).save(path),
    )
    import_renders(full, SPEC, tmp_path / "out_b")
    assert "fg_mask of these renders is white everywhere" in caplog.text
