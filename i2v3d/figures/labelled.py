"""Sheets of pictures with words: a caption above each picture, a name beside each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from i2v3d.images import Rgb

GAP_PX = 6
LETTER_PX = 13
LINE_PX = 20  # height of a caption
INK, PAPER, RULE = (20, 20, 20), (255, 255, 255), (150, 150, 150)


@dataclass(frozen=True)
class Panel:
    """A picture (H, W, 3) uint8 and the caption above it ('': none, and no room for one)."""

    caption: str
    picture: Rgb


def labelled_rows(rows: Sequence[tuple[str, Sequence[Panel]]], longest_px: int) -> Rgb:
    """One picture (H, W, 3) of named rows of panels, each scaled so that its longest side is `longest_px`.

    Every panel has a thin frame, so that a white one is seen. Raises ValueError if there is no panel.
    """
    font = ImageFont.load_default(LETTER_PX)
    margin = max(round(font.getlength(name)) for name, _ in rows) + 2 * GAP_PX
    scaled = [(name, [_scaled(panel, longest_px) for panel in panels]) for name, panels in rows]
    heights = [_caption_px(panels) + max(p.picture.shape[0] for p in panels) + GAP_PX for _, panels in scaled]
    widths = [sum(p.picture.shape[1] + GAP_PX for p in panels) for _, panels in scaled]
    sheet = Image.new("RGB", (margin + max(widths), GAP_PX + sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = GAP_PX
    for (name, panels), height in zip(scaled, heights, strict=True):
        below = top + _caption_px(panels)
        draw.text((GAP_PX, (below + top + height) // 2), name, INK, font, anchor="lm")
        left = margin
        for panel in panels:
            width = panel.picture.shape[1]
            draw.text((left, top + 2), _fitting(panel.caption, width, font), INK, font)
            sheet.paste(Image.fromarray(panel.picture), (left, below))
            left += width + GAP_PX
        top += height
    return np.asarray(sheet)


def _caption_px(panels: Sequence[Panel]) -> int:
    return LINE_PX if any(panel.caption for panel in panels) else 0


def _scaled(panel: Panel, longest_px: int) -> Panel:
    height, width = panel.picture.shape[:2]
    scale = longest_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale <= 1 else cv2.INTER_LINEAR
    picture = cv2.resize(panel.picture, size, interpolation=method)
    framed = cv2.rectangle(picture, (0, 0), (size[0] - 1, size[1] - 1), RULE, 1)
    return Panel(panel.caption, framed)


def _fitting(words: str, width_px: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The words, cut so that they are at most `width_px` wide."""
    while words and font.getlength(words) > width_px:
        words = words[:-1]
    return words
