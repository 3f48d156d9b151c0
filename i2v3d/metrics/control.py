"""Control retention: whether a video still shows the depth, masks and motion that its render prescribes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from i2v3d.errors import ShapeError
from i2v3d.geometry.checks import check_depths, check_flow, check_masks, check_pictures
from i2v3d.geometry.correspondence import warp_back


def depth_si_rmse(estimated_m: Tensor, rendered_m: Tensor, inside: Tensor) -> Tensor:
    """(T,) scale-invariant root mean square error of log depth; NaN where no pixel of a frame counts.

    estimated_m, rendered_m (T, H, W); inside (T, H, W): where it counts, and both are finite. With d the
    difference of logarithms: sqrt(mean(d^2) - mean(d)^2), which no common factor changes. Raises ShapeError
    as `check_depths` and `check_masks`. Source: Eigen et al. 2014, eq. 1 (its root).
    """
    check_depths(estimated_m=estimated_m, rendered_m=rendered_m)
    check_masks(estimated_m[:, None], inside=inside)
    counted = inside & torch.isfinite(estimated_m) & torch.isfinite(rendered_m)
    difference = torch.where(counted, estimated_m.double().log() - rendered_m.double().log(), 0.0)
    count = counted.sum((1, 2))
    mean = difference.sum((1, 2)) / count
    variance = (torch.where(counted, difference - mean[:, None, None], 0.0) ** 2).sum((1, 2)) / count
    return variance.sqrt().float()


def depth_of_disparity(disparity: Tensor, rendered_m: Tensor, inside: Tensor) -> Tensor:
    """(T, H, W) depth in metres of disparities that are known up to a factor and a shift.

    Both are fitted to each frame's rendered disparity by least squares where inside (T, H, W) is set and depth is
    finite; what then lies at infinity or behind counts as the farthest rendered depth. Raises ShapeError as
    `check_depths` and `check_masks`. Source: Ranftl et al. 2020, MiDaS (scale and shift alignment).
    """
    check_depths(rendered_m=rendered_m)
    check_masks(rendered_m[:, None].expand(-1, 3, -1, -1), inside=inside)
    if disparity.shape != rendered_m.shape or not bool(torch.isfinite(disparity).all()):
        raise ShapeError(f"disparity is {tuple(disparity.shape)}; expected {tuple(rendered_m.shape)}, finite")
    aligned = []
    for found, depth, counted in zip(disparity.double(), rendered_m.double(), inside, strict=True):
        seen = counted & torch.isfinite(depth)
        columns = torch.stack([found[seen], torch.ones_like(found[seen])], dim=1)
        factor, shift = torch.linalg.lstsq(columns, 1 / depth[seen][:, None]).solution[:, 0]
        farthest = depth[seen].max()
        aligned.append(1 / (factor * found + shift).clamp(min=float(1 / farthest)))
    return torch.stack(aligned).float()


def mask_iou(estimated: Tensor, rendered: Tensor) -> Tensor:
    """(T,) intersection over union of masks (T, H, W); 1 where both are empty.

    Raises ShapeError as `check_masks`.
    """
    check_masks(estimated=estimated, rendered=rendered)
    union = (estimated | rendered).sum((1, 2))
    common = (estimated & rendered).sum((1, 2))
    return torch.where(union > 0, common / union.clamp(min=1), 1.0)


def warping_error(pictures: Tensor, flow_px: Tensor, valid: Tensor) -> Tensor:
    """(T - 1,) mean squared difference of each frame and the next one warped back to it.

    valid (T - 1, H, W): pixels seen in both (`unoccluded`); NaN where there is none. Raises ShapeError as
    the checks. Source: Lai et al. 2018, eq. 11, with exact flow and occlusion.
    """
    differences = _differences(pictures, flow_px, valid)
    return torch.stack([(d**2).mean(dim=0).sum() for d in differences]) / valid.sum((1, 2))


def flicker(pictures: Tensor, flow_px: Tensor, valid: Tensor) -> Tensor:
    """(T - 1,) change of brightness from each frame to the next that motion does not explain.

    The mean over valid pixels of (next frame warped back - frame), absolute, mean of the channels: unlike
    the warping error it does not see texture that moves wrongly, only light that comes and goes. Raises
    ShapeError as the checks.
    """
    sums = torch.stack([d.sum((1, 2)) for d in _differences(pictures, flow_px, valid)])
    return (sums / valid.sum((1, 2))[:, None]).abs().mean(dim=1)


def _differences(pictures: Tensor, flow_px: Tensor, valid: Tensor) -> Iterator[Tensor]:
    """(3, H, W) for each pair of frames: next frame warped back - frame, 0 where not valid. One pair at a time, since
    a long shot of large pictures would not fit the memory several times over."""
    check_pictures(pictures=pictures)
    check_flow(pictures, flow_px)
    check_masks(pictures[:-1], valid=valid)
    for t in range(len(flow_px)):
        yield (warp_back(pictures[t : t + 2], flow_px[t : t + 1])[0] - pictures[t]) * valid[t]
