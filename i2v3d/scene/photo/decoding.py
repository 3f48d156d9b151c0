"""Pictures of any bit depth and colour space as 8-bit sRGB."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from i2v3d.errors import InputError

SAME_LEVELS = 2  # of 255: what profiles of one colour space differ by

log = logging.getLogger(__name__)

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_TURN_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC  # white stays white


def eight_bits(picture: Image.Image) -> Image.Image | None:
    """The picture itself, or one of 16-bit grey scaled to 8 bits; None for numbers of unknown range."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture)
    if picture.mode.startswith("F") or values.min() < 0 or values.max() > 65535:
        return None
    grey = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    grey.info = dict(picture.info)
    return grey


def in_srgb(picture: Image.Image, path: Path) -> Image.Image:
    """The picture with its colours in sRGB by its ICC profile; as it is without one, or with one that is sRGB's.

    A profile that cannot be used is warned about. path: names the file in it.
    """
    encoded = picture.info.get("icc_profile")
    if not encoded:
        return picture
    alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(encoded))
        space = profile.profile.xcolor_space.strip()
        mode = {"GRAY": "L", "CMYK": "CMYK"}.get(space, "RGB")
        if space not in ("RGB", "GRAY", "CMYK"):
            raise ValueError(f"of {space} colours")
        turn = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", _TURN_INTENT)
        if mode == "RGB" and _changes_nothing(turn):
            return picture
        plain = picture if picture.mode == mode else picture.convert(mode)
        converted = ImageCms.applyTransform(plain, turn)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        log.warning(
            "the colour profile of %s cannot be used (%s): its numbers are taken for sRGB", path, error
        )
        return picture
    assert converted is not None, "it is not done in place"
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _changes_nothing(turn: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform leaves a grid of colours as it is, to a level."""
    levels = np.arange(0, 256, 51, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    turned = ImageCms.applyTransform(Image.fromarray(grid), turn)
    assert turned is not None, "it is not done in place"
    return int(np.abs(np.asarray(turned).astype(int) - grid).max()) <= SAME_LEVELS


def require_heif(path: Path, what: str) -> None:
    """Makes Pillow read a HEIC picture, by its content. Raises InputError without the package that does so."""
    with path.open("rb") as stream:
        head = stream.read(12)
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF_BRANDS:
        return
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(
            f"{what} {path} is HEIC, which needs another package: pip install 'i2v3d[heic]', or export it as JPEG"
        ) from error
    pillow_heif.register_heif_opener()
