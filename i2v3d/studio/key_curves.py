"""Objects between their keys while they are dragged; Blender, which is asked afterwards, has the last word.

At keys this is exact, and between keys of every mode but BEZIER and ELASTIC, too: BEZIER runs through keys on curves
that Blender finds for all keys together, here they ease in and out of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from i2v3d.artifacts.scene_spec import ObjectSpec, TransformKey
from i2v3d.geometry.cameras import Array
from i2v3d.scene.motion.easing import EASINGS


def channels(keys: Sequence[TransformKey], frame: int) -> Array:
    """Translation, Euler degrees and scale (9,) at a frame of the timeline; at rest without keys."""
    if not keys:
        return np.array([0.0] * 6 + [1.0] * 3)
    values = [np.array([*key.translation_m, *key.rotation_deg, *key.scale]) for key in keys]
    later = next((n for n, key in enumerate(keys) if key.frame > frame), len(keys))
    if later in (0, len(keys)):
        return values[0 if later == 0 else -1]
    a, b = keys[later - 1], keys[later]
    share = EASINGS.get(a.interpolation, EASINGS["BEZIER"])((frame - a.frame) / (b.frame - a.frame))
    found: Array = values[later - 1] + share * (values[later] - values[later - 1])
    return found


def pivot_pose(item: ObjectSpec, frame: int) -> Array:
    """World from the pivot's axes (4, 4) at a frame of the timeline."""
    now = channels(item.keys, frame)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", now[3:6], degrees=True).as_matrix() * now[6:9]
    pose[:3, 3] = np.asarray(item.pivot_m) + now[:3]
    return pose
