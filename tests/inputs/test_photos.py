"""Photos as phones, scanners and editors write them: upright sRGB in the end, or a refusal that says why not."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from i2v3d.errors import InputError
from i2v3d.scene.photo.candidates import mask_candidates
from i2v3d.scene.photo.framing import load_photo, photo_size
from i2v3d.scene.photo.grabcut import grabcut
from i2v3d.scene.photo.mask_doubt import mask_doubt, outline_on_edges

RED, BLUE = (201, 40, 30), (40, 60, 201)
WIDTH, HEIGHT = 120, 80
DISPLAY_P3 = (Path(__file__).parent / "display_p3.icc").read_bytes()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3_RED = (186, 56, 42)  # the numbers of Display P3 that mean RED
QUARTER_TURN, HALF_TURN = 6, 3  # of EXIF


def picture() -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (WIDTH, HEIGHT), RED)
    image.paste(BLUE, (WIDTH // 2, 0, WIDTH, HEIGHT))
    return image


def saved(image: Image.Image, name: str, **options: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        image.save(folder / name, **options)
        return folder / name

    return write


def with_exif(turn: int, name: str = "turned.jpg") -> Callable[[Path], Path]:
    exif = Image.Exif()
    exif[0x0112] = turn
    return saved(picture(), name, exif=exif, quality=95)


def grey16() -> Image.Image:
    grey = np.full((HEIGHT, WIDTH), 60000, np.uint16)
    grey[:, WIDTH // 2 :] = 5140
    return Image.fromarray(grey)


def translucent(mode: str) -> Image.Image:
    alpha = Image.new("L", (WIDTH, HEIGHT), 255)
    alpha.paste(0, (WIDTH // 2, 0, WIDTH, HEIGHT))
    image = picture().convert("RGBA" if mode == "RGBA" else "LA")
    image.putalpha(alpha)
    return image


JPEG = {"quality": 95, "subsampling": 0}
KINDS: dict[str, tuple[Callable[[Path], Path], tuple[int, ...], int]] = {
    "png": (saved(picture(), "a.png"), RED, 0),
    "jpeg": (saved(picture(), "a.jpg", **JPEG), RED, 3),
    "webp": (saved(picture(), "a.webp", lossless=True), RED, 0),
    "avif": (saved(picture(), "a.avif", quality=95), RED, 5),
    "tiff": (saved(picture(), "a.tif"), RED, 0),
    "bmp": (saved(picture(), "a.bmp"), RED, 0),
    "gif": (saved(picture(), "a.gif"), RED, 4),
    "animated webp": (saved(picture(), "a.webp", save_all=True, append_images=[picture()], lossless=True), RED, 0),
    "palette": (saved(picture().convert("P", palette=Image.Palette.ADAPTIVE), "a.png"), RED, 2),
    "cmyk": (saved(picture().convert("CMYK"), "a.jpg", **JPEG), RED, 4),
    "grey": (saved(picture().convert("L"), "a.png"), (87, 87, 87), 1),
    "grey of 16 bits": (saved(grey16(), "a.png"), (233, 233, 233), 1),
    "upside down": (with_exif(HALF_TURN), BLUE, 4),
    "transparent": (saved(translucent("RGBA"), "a.png"), RED, 0),
    "grey and alpha": (saved(translucent("LA"), "a.png"), (87, 87, 87), 1),
    "tagged sRGB": (saved(picture(), "a.png", icc_profile=SRGB), RED, 0),
    "Display P3": (saved(Image.new("RGB", (WIDTH, HEIGHT), P3_RED), "a.png", icc_profile=DISPLAY_P3), RED, 2),
    "Display P3 with alpha": (
        saved(Image.new("RGBA", (WIDTH, HEIGHT), (*P3_RED, 255)), "a.png", icc_profile=DISPLAY_P3), RED, 2,
    ),
    "jpeg called png": (lambda folder: saved(picture(), "a.jpg", **JPEG)(folder).rename(folder / "b.png"), RED, 3),
    "blanks and umlauts": (saved(picture(), "mein Foto ü (1) 日本.png"), RED, 0),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_is_read_in_srgb(kind: str, tmp_path: Path) -> None:
    write, expected, levels = KINDS[kind]
    photo = load_photo(write(tmp_path))
    assert photo.rgb.dtype == np.uint8 and photo.rgb.shape == (HEIGHT, WIDTH, 3)
    left = photo.rgb[HEIGHT // 2, WIDTH // 4].astype(int)
    assert np.abs(left - expected).max() <= levels, left
    assert (photo.alpha is not None) == (("alpha" in kind and "P3" not in kind) or kind == "transparent")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_a_quarter_turn_swaps_the_sides(name: str, tmp_path: Path) -> None:
    path = with_exif(QUARTER_TURN, name)(tmp_path)
    photo = load_photo(path)
    assert photo_size(path) == (photo.width, photo.height) == (HEIGHT, WIDTH)
    assert np.abs(photo.rgb[10, HEIGHT // 2].astype(int) - RED).max() < 5


def test_a_profile_that_cannot_be_used_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    photo = load_photo(saved(picture(), "a.png", icc_profile=DISPLAY_P3[:200])(tmp_path))
    assert tuple(photo.rgb[0, 0]) == RED and "its numbers are taken for sRGB" in caplog.text


def cut(folder: Path) -> Path:
    stream = io.BytesIO()
    Image.effect_noise((WIDTH, HEIGHT), 90).convert("RGB").save(stream, format="JPEG")
    (folder / "a.jpg").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    return folder / "a.jpg"


def content(data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "a.png").write_bytes(data)
        return folder / "a.png"

    return write


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "truncated": (cut, "is damaged .*truncated.*export it again"),
    "empty": (content(b""), "is empty"),
    "words": (content(b"hello"), "not a readable picture; give a PNG, JPEG"),
    "small": (saved(Image.new("RGB", (32, 80)), "a.png"), "32x80, smaller than 64"),
    "numbers": (saved(Image.new("F", (WIDTH, HEIGHT), 0.5), "a.tif"), "pixel mode F; convert it"),
    "missing": (lambda folder: folder / "none.png", "does not exist"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_photo_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    write, message = REFUSED[kind]
    path = write(tmp_path)
    with pytest.raises(InputError, match=message) as raised:
        load_photo(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["photo.heic", "called.jpg"])
def test_heic_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    """Read with the optional package, else refused with what installs it."""
    path = tmp_path / name
    if importlib.util.find_spec("pillow_heif") is None:
        path.write_bytes(bytes(4) + b"ftypheic" + bytes(60))
        with pytest.raises(
            InputError, match=r"is HEIC, which needs another package: pip install 'i2v3d\[heic\]'"
        ):
            load_photo(path)
        return
    import pillow_heif

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pillow_heif.from_pillow(picture()).save(tmp_path / "a.heic", quality=95)
    (tmp_path / "a.heic").rename(path)
    assert np.abs(load_photo(path).rgb[HEIGHT // 2, WIDTH // 4].astype(int) - RED).max() < 8


# ---------------------------------------------------------------- a mask that may be the background
def sky(disc: tuple[int, int, int] | None = None) -> np.ndarray:
    """(120, 180, 3): an evening sky; disc: centre and radius of a red one before it."""
    down = np.linspace(0, 1, 120)[:, None, None]
    rgb = (1 - down) * [90, 140, 215] + down * [165, 180, 90] + np.zeros((120, 180, 1))
    rgb += np.random.default_rng(0).normal(scale=3, size=rgb.shape)
    if disc is not None:
        y, x = np.mgrid[:120, :180]
        rgb[(x - disc[0]) ** 2 + (y - disc[1]) ** 2 < disc[2] ** 2] = RED
    return np.clip(rgb, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("disc", [None, (162, 96, 55)])
def test_sky_taken_for_the_object_is_doubted(disc: tuple[int, int, int] | None) -> None:
    rgb = sky(disc)
    found = grabcut(rgb, None, 5)
    doubt = mask_doubt("grabcut", found, rgb)
    assert doubt is not None and doubt.endswith("so it may be the background")
    assert mask_doubt("file", found, rgb) is None


def test_an_object_in_the_middle_is_not_doubted() -> None:
    rgb = sky((90, 60, 35))
    found = grabcut(rgb, None, 5)
    assert mask_doubt("grabcut", found, rgb) is None and outline_on_edges(found, rgb) > 0.95


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (slice(0, 40), slice(0, 180), "upper side"),
        (slice(0, 120), slice(0, 150), "of the frame's border"),
        (slice(100, 120), slice(0, 60), "of the frame's middle"),
    ],
)
def test_masks_along_the_frame_are_doubted(rows: slice, columns: slice, words: str) -> None:
    mask = np.zeros((120, 180), bool)
    mask[rows, columns] = True
    assert words in str(mask_doubt("sam2", mask, sky()))


def test_the_second_best_masks_hold_what_the_first_missed() -> None:
    """The disc at the frame's edge, which the automatic box takes the sky for."""
    rgb = sky((162, 96, 55))
    y, x = np.mgrid[:120, :180]
    disc = (x - 162) ** 2 + (y - 96) ** 2 < 55**2
    choices = mask_candidates(rgb)
    assert 2 <= len(choices) <= 3 and choices[0].box is None
    overlaps = [float((c.mask & disc).sum() / (c.mask | disc).sum()) for c in choices]
    assert overlaps[0] < 0.2 and max(overlaps[1:]) > 0.9
    assert choices[0].doubt is not None and choices[int(np.argmax(overlaps))].doubt is None
