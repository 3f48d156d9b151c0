"""Masks at every size a network works in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from i2v3d.errors import ShapeError


def nearest_resize(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Boolean maps (B, H, W) -> (B, height, width); row i is row floor(i * H / height) of the map."""
    if mask.shape[-2:] == (height, width):
        return mask
    return F.interpolate(mask[:, None].float(), size=(height, width), mode="nearest")[:, 0] > 0.5


class LayerMask:
    """Boolean maps, one per item (frame), that every layer reads at its own size.

    Each size is computed once, on the device of the maps, and kept: a step costs no copy between host
    and device. Items are in the order of the network's rows within one branch.
    """

    def __init__(self, mask: torch.Tensor) -> None:
        """mask: (items, H, W) bool at any size, usually pixels. Raises ShapeError otherwise."""
        if mask.ndim != 3 or mask.dtype != torch.bool:
            raise ShapeError(f"a layer mask is {tuple(mask.shape)} {mask.dtype}; expected (items, H, W) bool")
        self.full = mask
        self._sizes: dict[tuple[int, int], torch.Tensor] = {}
        self._rows: dict[tuple[int, ...], LayerMask] = {}

    def __len__(self) -> int:
        return int(self.full.shape[0])

    def at(self, height: int, width: int) -> torch.Tensor:
        """The maps nearest-resized to a layer, (items, height, width) bool."""
        if (height, width) not in self._sizes:
            self._sizes[height, width] = nearest_resize(self.full, height, width)
        return self._sizes[height, width]

    def tokens(self, height: int, width: int) -> torch.Tensor:
        """The same, flattened row by row as attention layers do: (items, height * width) bool."""
        return self.at(height, width).flatten(1)

    def items(self, index: tuple[int, ...]) -> LayerMask:
        """The mask of some items, in the order of `index`; the same object for the same index."""
        if index not in self._rows:
            self._rows[index] = LayerMask(self.full[list(index)])
        return self._rows[index]


@dataclass(frozen=True)
class FrameMasks:
    """Per frame, at any size: where a surface is visible, and where the foreground object is."""

    visible: LayerMask
    foreground: LayerMask

    def items(self, index: tuple[int, ...]) -> FrameMasks:
        """The masks of some frames, in the order of `index`."""
        return FrameMasks(self.visible.items(index), self.foreground.items(index))
