"""Another program's cameras at their own frames: gaps between their numbers are filled, not skipped."""

from __future__ import annotations

import logging
import math

import numpy as np
from scipy.interpolate import interp1d
from scipy.spatial.transform import Rotation, Slerp

from i2v3d.geometry.camera_track import CameraTrack
from i2v3d.scene.frame_numbers import counted

log = logging.getLogger(__name__)

MOST_FILLED = 1.0  # times the cameras there are: beyond it, numbers hardly count frames


def without_gaps(track: CameraTrack, where: str) -> CameraTrack:
    """One camera a frame, from the first number to the last, and without numbers.

    Numbers that rise by a common step, such as 10, 20, 30, count every frame. Cameras between are interpolated, on
    straight lines and shortest turns, with a warning; if most are lacking the cameras are played one after another,
    with a warning as well. where: names the file in it.
    """
    if track.numbers is None or track.frames < 2:
        return CameraTrack(track.width, track.height, track.K, track.c2w)
    steps = np.diff(track.numbers)
    if (steps <= 0).any():
        return CameraTrack(track.width, track.height, track.K, track.c2w)
    at = np.concatenate([[0], np.cumsum(steps // math.gcd(*steps.tolist()))])
    lacking = sorted(set(range(int(at[-1]) + 1)) - set(at.tolist()))
    if not lacking:
        return CameraTrack(track.width, track.height, track.K, track.c2w)
    shown = counted([number + 1 for number in lacking])
    if len(lacking) > MOST_FILLED * track.frames:
        log.warning("%s lacks most frames between its first and last: its cameras follow one another", where)
        return CameraTrack(track.width, track.height, track.K, track.c2w)
    log.warning("%s lacks the cameras of frames %s: they are interpolated", where, shown)
    frames = np.arange(at[-1] + 1)
    c2w = np.tile(np.eye(4), (len(frames), 1, 1))
    c2w[:, :3, :3] = Slerp(at, Rotation.from_matrix(track.c2w[:, :3, :3]))(frames).as_matrix()
    c2w[:, :3, 3] = interp1d(at, track.c2w[:, :3, 3], axis=0)(frames)
    c2w[at] = track.c2w  # exactly as given
    K = interp1d(at, track.K, axis=0)(frames)
    K[at] = track.K
    return CameraTrack(track.width, track.height, K, c2w)
