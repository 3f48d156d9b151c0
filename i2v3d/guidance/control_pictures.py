"""The passes of a render as the pictures that video models are told them in, (F, 3, H, W) in [-1, 1].

Conventions are those of VACE's own annotators, except that one range holds for the whole shot where theirs is each
frame's own, which breathes in time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601, as OpenCV's grey
DEPTH_STEP = 0.03  # of the shot's disparity range between neighbouring pixels: an edge


def grey_pictures(rgb: Tensor) -> Tensor:
    """Pictures (F, 3, H, W) in [-1, 1] without their colours."""
    weights = torch.tensor(LUMA).to(rgb)[:, None, None]
    return (rgb * weights).sum(1, keepdim=True).expand(-1, 3, -1, -1)


def line_pictures(disparity: Tensor, foreground: Tensor) -> Tensor:
    """Dark lines on white where the scene's surfaces end. disparity: (F, H, W) in [0, 1], of one range for the shot;
    foreground: (F, H, W) bool."""
    edges = torch.zeros_like(foreground)
    for axis in (1, 2):
        size = foreground.shape[axis] - 1
        near, far = disparity.narrow(axis, 0, size), disparity.narrow(axis, 1, size)
        inside, outside = foreground.narrow(axis, 0, size), foreground.narrow(axis, 1, size)
        edges.narrow(axis, 0, size).logical_or_(((near - far).abs() > DEPTH_STEP) | (inside != outside))
    wide = functional.max_pool2d(
        edges[:, None].float(), 3, 1, 1
    )  # three pixels: thinner lines vanish in latents
    return (1 - 2 * wide).expand(-1, 3, -1, -1)


def flow_pictures(flow_px: Tensor, largest_px: float) -> Tensor:
    """Flow as Middlebury's colours: hue is the direction, white stands still.

    flow_px: (F, H, W, 2), how each frame's pixels have moved; largest_px: the motion of the strongest colour, one for
    the shot. Source: Baker et al., A Database and Evaluation Methodology for Optical Flow, 2011.
    """
    along, down = (flow_px / max(largest_px, 1e-5)).unbind(-1)
    radius = torch.hypot(along, down).clamp(max=1)
    wheel = _wheel().to(flow_px)
    place = (torch.atan2(-down, -along) / math.pi + 1) / 2 * (len(wheel) - 1)
    first = place.floor().long()
    second, part = (first + 1) % len(wheel), (place - first)[..., None]
    colour = (1 - part) * wheel[first] + part * wheel[second]
    pictures = 1 - radius[..., None] * (1 - colour)
    return 2 * pictures.permute(0, 3, 1, 2) - 1


def _wheel() -> Tensor:
    """The 55 colours of the circle, (55, 3) in [0, 1]: red, yellow, green, cyan, blue, magenta and back."""
    spans = (15, 6, 4, 11, 13, 6)
    corners = torch.tensor([(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1)]).float()
    parts = []
    for number, span in enumerate(spans):
        share = (torch.arange(span) / span)[:, None]
        parts.append((1 - share) * corners[number] + share * corners[(number + 1) % len(corners)])
    return torch.cat(parts)
