"""All scores of one clip: frame by frame, and of the clip as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from i2v3d.errors import ShapeError
from i2v3d.geometry.cameras import Array
from i2v3d.geometry.correspondence import Motion
from i2v3d.metrics import control, fidelity, identity, temporal
from i2v3d.metrics.camera import camera_errors
from i2v3d.metrics.catalogue import SCORES


class Prescribed(Protocol):
    """What a render prescribes about T frames; see `i2v3d.artifacts.coarse.CoarseShot`."""

    @property
    def rgb(self) -> Tensor: ...
    @property
    def depth_m(self) -> Tensor: ...
    @property
    def foreground(self) -> Tensor: ...
    @property
    def lenses(self) -> Array: ...
    @property
    def poses(self) -> Array: ...
    def motion(self) -> Motion | None: ...


class Jury(Protocol):
    """The estimators at hand; see `i2v3d.models.judges.Judges`."""

    depth_m: Callable[[Tensor], Tensor] | None
    disparity: Callable[[Tensor], Tensor] | None
    mask: Callable[[Tensor], Tensor] | None
    embeddings: dict[str, Callable[[Tensor, Tensor], Tensor]]
    distance: Callable[[Tensor, Tensor], Tensor] | None


@dataclass
class ClipScores:
    """frames: score -> (T,) values, NaN where a frame has none. whole: score -> the clip's one value.

    embeddings: score -> (T, D) unit vectors, zero where the object was not found.
    """

    frames: dict[str, Tensor] = field(default_factory=dict)
    whole: dict[str, float] = field(default_factory=dict)
    embeddings: dict[str, Tensor] = field(default_factory=dict)

    def summary(self) -> dict[str, float | None]:
        """Score -> one number, by the catalogue's rule; None where no frame has a value."""
        return {**{name: over_frames(name, values) for name, values in self.frames.items()}, **self.whole}


def over_frames(name: str, values: Tensor) -> float | None:
    """The mean or the largest of the values that are there, as the catalogue says; None without one."""
    over = SCORES[name].over
    counted = values[1:] if over == "later" else values
    there = counted[~counted.isnan()]
    if len(there) == 0:
        return None
    return float(there.max() if over == "max" else there.double().mean())


def against_truth(
    pictures: Tensor, truth: Tensor, foreground: Tensor, shown: Tensor | None, jury: Jury
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Fidelity of T frames to the true ones, and why a score is left out.

    foreground (T, H, W): the true object's mask. shown (T, H, W): what the photo shows, too; None where that is not
    known.
    """
    found = {
        "psnr": fidelity.psnr(pictures, truth),
        "psnr_fg": fidelity.psnr_inside(pictures, truth, foreground),
        "ssim": fidelity.ssim(pictures, truth),
        "sharpness": fidelity.sharpness(pictures, truth, torch.ones_like(foreground)),
        "sharpness_fg": fidelity.sharpness(pictures, truth, foreground),
    }
    if shown is not None:
        found["psnr_shown"] = fidelity.psnr_inside(pictures, truth, shown)
        found["psnr_new"] = fidelity.psnr_inside(pictures, truth, ~shown)
    skipped = {}
    try:
        found["ms_ssim"] = fidelity.ms_ssim(pictures, truth)
    except ShapeError as error:
        skipped["ms_ssim"] = str(error)
    if jury.distance is not None:
        found["lpips"] = jury.distance(pictures, truth)
    return found, skipped


def against_control(pictures: Tensor, prescribed: Prescribed, jury: Jury, far_m: float) -> dict[str, Tensor]:
    """Depth error and mask overlap of T frames by the estimators at hand."""
    found = {}
    near = torch.isfinite(prescribed.depth_m) & (prescribed.depth_m < far_m)
    depth_m = None
    if jury.depth_m is not None:
        depth_m = jury.depth_m(pictures)
    elif jury.disparity is not None:
        depth_m = control.depth_of_disparity(jury.disparity(pictures), prescribed.depth_m, near)
    if depth_m is not None:
        found["depth_si_rmse"] = control.depth_si_rmse(depth_m, prescribed.depth_m, near)
        inside = near & prescribed.foreground
        found["depth_si_rmse_fg"] = control.depth_si_rmse(depth_m, prescribed.depth_m, inside)
    if jury.mask is not None:
        found["mask_iou"] = control.mask_iou(jury.mask(pictures), prescribed.foreground)
    return found


def identities(
    pictures: Tensor, foreground: Tensor, photo: Tensor, photo_mask: Tensor, jury: Jury
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Similarity of the object in T frames to the photo's, and its embeddings, by every estimator at hand.

    The object is cut out by the estimated mask where there is an estimator, so that the render's outline gives
    nothing away, else by the rendered one. photo (1, 3, H, W), photo_mask (1, H, W).
    """
    masks = foreground if jury.mask is None else jury.mask(pictures)
    photo_mask = photo_mask if jury.mask is None else jury.mask(photo)
    found, embeddings = {}, {}
    seen = masks.flatten(1).any(1)
    for name, embed in jury.embeddings.items():
        values = torch.full((len(pictures),), math.nan)
        if photo_mask.any() and seen.any():
            vectors = torch.nn.functional.normalize(embed(pictures[seen], masks[seen]), dim=1)
            values[seen] = identity.similarity(vectors, embed(photo, photo_mask))
            embeddings[name] = torch.zeros(len(pictures), vectors.shape[1])
            embeddings[name][seen] = vectors
        found[name] = values
    return found, embeddings


def in_time(
    pictures: Tensor, prescribed: Prescribed, seams: Sequence[int]
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """How T >= 2 consecutive frames move and change: values of frames (of a step: its later frame), of the whole.

    seams: frames counted from 1 at which another segment takes over; the step after it is the seam's.
    """
    steps = temporal.frame_steps(pictures)
    places = [seam - 1 for seam in seams]
    found = {"frame_step": steps, "colour_drift": temporal.colour_drift(pictures, prescribed.rgb).float()}
    whole = {
        "temporal_flickering": temporal.temporal_flickering(pictures),
        "seam_jump": temporal.seam_jump(steps, places),
    }
    motion = prescribed.motion()
    if motion is not None:
        found["warping_error"] = control.warping_error(pictures, motion.flow_px, motion.seen)
        found["flicker"] = control.flicker(pictures, motion.flow_px, motion.seen)
        remaining = found["warping_error"].sqrt()
        if bool(remaining.isfinite().all()):
            whole["seam_jump_warped"] = temporal.seam_jump(remaining, places)
    errors = camera_errors(
        pictures, prescribed.depth_m[0], prescribed.foreground[0], prescribed.lenses, prescribed.poses
    )
    found["camera_rotation_deg"] = torch.from_numpy(errors.rotation_deg).float()
    found["camera_position_m"] = torch.from_numpy(errors.position_m).float()
    return {name: _of_later(values, len(pictures)) for name, values in found.items()}, _there(whole)


def whole_identity(embeddings: Mapping[str, Tensor], photo: Tensor) -> dict[str, float]:
    """VBench's scores of the toy estimator's embeddings (T, D); none if the object was lost in a frame."""
    vectors = embeddings.get("identity")
    if vectors is None or len(vectors) < 2 or bool((vectors.norm(dim=1) == 0).any()):
        return {}
    return {
        "subject_consistency": identity.subject_consistency(vectors),
        "i2v_subject": identity.i2v_subject(vectors, photo),
    }


def _of_later(values: Tensor, frames: int) -> Tensor:
    """(T - 1,) values of steps as (T,) values of frames, NaN first; (T,) values as they are."""
    return values if len(values) == frames else torch.cat([torch.full((1,), math.nan), values])


def _there(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
