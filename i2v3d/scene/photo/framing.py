"""Photos and masks as users give them, and how a photo is framed at the size of the scene."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from i2v3d.errors import InputError
from i2v3d.images import Mask, Rgb
from i2v3d.scene.photo.decoding import eight_bits, in_srgb, require_heif

SMALLEST_SIDE_PX = 64
PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
KEPT = 0.8  # of a photo, that a crop to the models' native size must keep
_DAMAGED = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, struct.error)
SIZE_STEP_PX = 64  # what every family takes multiples of


@dataclass(frozen=True)
class Photo:
    """A photo the right way up. rgb: (H, W, 3) uint8 sRGB. alpha: (H, W) bool where opaque, or None."""

    rgb: Rgb
    alpha: Mask | None

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.rgb.shape[1]

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.rgb.shape[0]


@dataclass(frozen=True)
class Framing:
    """The centred crop of a photo that has the scene's aspect, and the scene's size, all in pixels."""

    photo_width: int
    photo_height: int
    left: int
    top: int
    crop_width: int
    crop_height: int
    width: int
    height: int

    @staticmethod
    def centred(photo_width: int, photo_height: int, width: int, height: int) -> Framing:
        """The largest centred crop of aspect width : height."""
        crop_width = min(photo_width, max(1, round(photo_height * width / height)))
        crop_height = min(photo_height, max(1, round(photo_width * height / width)))
        return Framing(
            photo_width=photo_width,
            photo_height=photo_height,
            left=(photo_width - crop_width) // 2,
            top=(photo_height - crop_height) // 2,
            crop_width=crop_width,
            crop_height=crop_height,
            width=width,
            height=height,
        )

    def frame_rgb(self, rgb: Rgb) -> Rgb:
        """Crops and resizes a photo to (height, width, 3): area average down, Lanczos up."""
        return self._resize(rgb)

    def frame_mask(self, mask: Mask) -> Mask:
        """Crops and resizes a photo's mask to (height, width): set where at least half a pixel is."""
        return self._resize(mask.astype(np.uint8) * 255) >= 128

    def frame_map(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Crops and resizes a map such as depth, (H, W) float, to (height, width) without mixing surfaces."""
        crop = values[self.top : self.top + self.crop_height, self.left : self.left + self.crop_width]
        size = (self.width, self.height)
        return cv2.resize(np.ascontiguousarray(crop), size, interpolation=cv2.INTER_NEAREST_EXACT)

    def to_frame_y(self, fraction: float) -> float:
        """Frame row, in pixels, of a fraction of the photo's height; may lie outside the frame."""
        return (fraction * self.photo_height - self.top) * self.height / self.crop_height

    def to_frame_px(self, photo_px: float) -> float:
        """A horizontal length of the photo, such as its focal length, in pixels of the frame."""
        return photo_px * self.width / self.crop_width

    def _resize(self, picture: np.ndarray) -> np.ndarray:
        crop = picture[self.top : self.top + self.crop_height, self.left : self.left + self.crop_width]
        shrinks = self.width <= self.crop_width and self.height <= self.crop_height
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
        return cv2.resize(np.ascontiguousarray(crop), (self.width, self.height), interpolation=method)


def photo_size(path: Path) -> tuple[int, int]:
    """(width, height) of a photo the right way up, from its header. Raises InputError as `load_photo`."""
    with _opened(path, "photo") as picture:
        width, height = picture.size
        # quarter turns; Pillow says the size of a TIFF turned already
        if picture.format != "TIFF" and _turn(picture, path) in (5, 6, 7, 8):
            width, height = height, width
    if min(width, height) < SMALLEST_SIDE_PX:
        raise InputError(
            f"photo {path} is {width}x{height}, smaller than {SMALLEST_SIDE_PX} pixels on a side; "
            "give a larger one"
        )
    return width, height


def is_upright_file(path: Path) -> bool:
    """Whether a photo's file can be used as it is: PNG, JPEG or WebP without an EXIF turn.

    Raises InputError as `load_photo`.
    """
    with _opened(path, "photo") as picture:
        known = picture.format in ("PNG", "JPEG", "WEBP") and path.suffix.lower() in PHOTO_SUFFIXES
        return known and _turn(picture, path) == 1


def fitted_size(native_width: int, native_height: int, aspect: float) -> tuple[int, int]:
    """The size in pixels, (width, height), at which to show a photo of some aspect to models of a native size.

    The native size, or that turned by 90 degrees, if its centred crop keeps 80 % of the photo, as networks
    paint best at the size they were trained at; else the size of multiples of 64 and of no more pixels that
    keeps most, the larger one of equals.
    """
    for width, height in ((native_width, native_height), (native_height, native_width)):
        if _kept(width / height, aspect) >= KEPT:
            return width, height
    step, most = SIZE_STEP_PX, native_width * native_height
    sizes = [
        (width, height)
        for width in range(step, most // step + 1, step)
        for height in range(step, most // width + 1, step)
        if width * height >= 0.5 * most
    ] or [(native_width, native_height)]
    return max(sizes, key=lambda size: (round(_kept(size[0] / size[1], aspect), 2), size[0] * size[1]))


def _kept(aspect: float, photo_aspect: float) -> float:
    """Fraction of a photo that its centred crop of another aspect keeps."""
    return min(aspect / photo_aspect, photo_aspect / aspect)


def load_photo(path: Path) -> Photo:
    """Reads a photo as 8-bit sRGB: EXIF orientation applied, colours converted by its ICC profile, transparency over
    white and kept as `alpha`.

    Raises InputError if it is missing, empty, no picture, of numbers without a scale, damaged, too small or too large
    to decode safely.
    """
    photo_size(path)
    with _opened(path, "photo") as picture:
        try:
            upright = eight_bits(ImageOps.exif_transpose(picture))
            if upright is None:
                raise InputError(f"photo {path} has pixel mode {picture.mode}; convert it to 8-bit sRGB")
            transparent = upright.has_transparency_data
            rgba = in_srgb(upright, path).convert("RGBA")
        except _DAMAGED as error:
            raise InputError(f"photo {path} is damaged ({error}); export it again") from error
    if not transparent:
        return Photo(np.asarray(rgba.convert("RGB")), None)
    over_white = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    alpha = np.asarray(rgba.getchannel("A")) >= 128
    return Photo(np.asarray(over_white.convert("RGB")), None if alpha.all() else alpha)


def load_mask(path: Path, width: int, height: int) -> Mask:
    """Reads a user's mask, (H, W) bool, set where brighter than half of white (or opaque, if it has transparency).

    White is 255; of more than 8 bits 65535, unless nothing is above 255, and of floats 1. Raises InputError if it
    cannot be read, has numbers of another range, or its size differs from the photo's.
    """
    with _opened(path, "mask") as picture:
        try:
            upright = ImageOps.exif_transpose(picture)
            channel = upright.convert("RGBA").getchannel("A") if upright.has_transparency_data else upright
            if channel.mode.startswith(("I", "F")):
                mask = _bright(np.asarray(channel), path)
            else:
                mask = np.asarray(channel.convert("L")) >= 128
        except _DAMAGED as error:
            raise InputError(f"mask {path} is damaged ({error}); export it again") from error
    if mask.shape != (height, width):
        raise InputError(
            f"mask {path} is {mask.shape[1]}x{mask.shape[0]} but the photo is {width}x{height}; "
            "export it at the photo's size"
        )
    return mask


def _bright(values: np.ndarray, path: Path) -> Mask:
    """Where a mask of whole numbers of more than 8 bits, or of floats, is brighter than half of white."""
    whites = (1, 255, 65535) if values.dtype.kind == "f" else (255, 65535)
    white = next((white for white in whites if values.max() <= white), None)
    if white is None or not values.min() >= 0:  # which no comparison with what is no number is
        raise InputError(
            f"mask {path} has numbers from {values.min()} to {values.max()}; save it as 8-bit grey"
        )
    return np.asarray(values > white / 2)


def require_some_foreground(mask: Mask, what: str, remedy: str) -> None:
    """Raises InputError if `mask` selects nothing or everything; `what` names it, `remedy` ends the line."""
    if not mask.any():
        raise InputError(f"{what} selects no pixel; {remedy}")
    if mask.all():
        raise InputError(f"{what} selects every pixel and leaves no background; {remedy}")


def _turn(picture: Image.Image, path: Path) -> int:
    """The EXIF orientation, 1 without one. Raises InputError if the file is damaged before it."""
    try:
        return int(picture.getexif().get(0x0112, 1))
    except _DAMAGED as error:
        raise InputError(f"photo {path} is damaged ({error}); export it again") from error


def _opened(path: Path, what: str) -> Image.Image:
    if not path.is_file():
        raise InputError(f"{what} {path} does not exist; give the path of a picture")
    if path.stat().st_size == 0:
        raise InputError(f"{what} {path} is empty (0 bytes); give a picture")
    require_heif(path, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"{what} {path} is too large ({error}); scale it down") from error
    except (UnidentifiedImageError, *_DAMAGED) as error:
        raise InputError(
            f"{what} {path} is not a readable picture; give a PNG, JPEG, WebP, AVIF or TIFF"
        ) from error
