"""Photos and masks as users give them: orientation, transparency, framing, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2v3d.errors import InputError
from i2v3d.scene.photo.framing import Framing, load_mask, load_photo, photo_size, require_some_foreground


def picture(width: int = 120, height: int = 80) -> np.ndarray:
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0] = np.arange(width)
    rgb[..., 1] = np.arange(height)[:, None]
    return rgb


def test_a_png_is_read_as_it_is(tmp_path: Path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    photo = load_photo(tmp_path / "a.png")
    assert (photo.width, photo.height, photo.alpha) == (120, 80, None)
    np.testing.assert_array_equal(photo.rgb, picture())


@pytest.mark.parametrize(("orientation", "turned"), [(3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, turned: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)
    upright = np.rot90(picture(), turned)
    np.testing.assert_array_equal(load_photo(tmp_path / "a.png").rgb, upright)
    assert photo_size(tmp_path / "a.png") == (upright.shape[1], upright.shape[0])


def test_transparency_becomes_a_mask_over_white(tmp_path: Path):
    rgba = np.dstack([picture(), np.full((80, 120), 255, np.uint8)])
    rgba[:, :60, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    photo = load_photo(tmp_path / "a.png")
    assert photo.alpha is not None
    assert not photo.alpha[:, :60].any() and photo.alpha[:, 60:].all()
    assert (photo.rgb[:, :60] == 255).all()
    np.testing.assert_array_equal(photo.rgb[:, 60:], picture()[:, 60:])


def test_an_opaque_alpha_channel_is_no_mask(tmp_path: Path):
    Image.fromarray(np.dstack([picture(), np.full((80, 120), 255, np.uint8)])).save(tmp_path / "a.png")
    assert load_photo(tmp_path / "a.png").alpha is None


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (None, "does not exist"),
        (b"", r"empty \(0 bytes\)"),
        (b"certainly no picture", "not a readable picture"),
    ],
)
def test_unreadable_photos_are_refused(tmp_path: Path, contents: bytes | None, message: str):
    path = tmp_path / "a.png"
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(InputError, match=message):
        load_photo(path)


def test_a_truncated_photo_is_refused(tmp_path: Path):
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(InputError, match="damaged"):
        load_photo(path)


def test_a_tiny_photo_is_refused(tmp_path: Path):
    Image.fromarray(picture(63, 80)).save(tmp_path / "tiny.png")
    with pytest.raises(InputError, match="63x80, smaller than 64"):
        load_photo(tmp_path / "tiny.png")


def test_a_photo_too_large_to_decode_safely_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000)
    with pytest.raises(InputError, match="too large"):
        load_photo(tmp_path / "a.png")


def test_a_mask_must_have_the_photo_s_size(tmp_path: Path):
    mask = picture(120, 80)[..., 0] > 50
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "m.png")
    np.testing.assert_array_equal(load_mask(tmp_path / "m.png", 120, 80), mask)
    with pytest.raises(InputError, match="is 120x80 but the photo is 60x40"):
        load_mask(tmp_path / "m.png", 60, 40)


def test_empty_and_full_masks_are_refused():
    some = np.eye(4, dtype=bool)
    require_some_foreground(some, "mask", "draw one")
    with pytest.raises(InputError, match="mask selects no pixel; draw one"):
        require_some_foreground(some & False, "mask", "draw one")
    with pytest.raises(InputError, match="every pixel"):
        require_some_foreground(some | True, "mask", "draw one")


def test_framing_crops_about_the_centre_to_the_aspect():
    framing = Framing.centred(600, 400, 1024, 576)
    assert (framing.left, framing.top, framing.crop_width, framing.crop_height) == (0, 31, 600, 338)
    tall = Framing.centred(600, 400, 100, 200)
    assert (tall.left, tall.top, tall.crop_width, tall.crop_height) == (200, 0, 200, 400)


def test_framing_of_the_same_size_changes_nothing():
    rgb = picture()
    framing = Framing.centred(120, 80, 120, 80)
    np.testing.assert_array_equal(framing.frame_rgb(rgb), rgb)
    np.testing.assert_array_equal(framing.frame_mask(rgb[..., 0] > 40), rgb[..., 0] > 40)


def test_shrinking_averages_areas():
    checks = np.indices((80, 120)).sum(axis=0) % 2
    rgb = np.repeat((checks * 200).astype(np.uint8)[..., None], 3, axis=-1)
    assert (Framing.centred(120, 80, 60, 40).frame_rgb(rgb) == 100).all()


def test_fractions_of_the_photo_land_on_frame_rows():
    framing = Framing.centred(120, 100, 60, 40)  # crops 10 rows above and below
    assert framing.to_frame_y(0.1) == pytest.approx(0.0)
    assert framing.to_frame_y(0.5) == pytest.approx(20.0)
    assert framing.to_frame_y(-0.4) == pytest.approx(-25.0)
    assert framing.to_frame_px(120) == pytest.approx(60.0)
