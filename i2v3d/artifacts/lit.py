"""Coarse pictures under the light of the photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.errors import InputError
from i2v3d.geometry.light import fit_light, surface_normals

CHOOSE = "choose light=flat in keyframes.inversion and interpolate.inversion"


def read_lit(render: Path, scene: Path, frames: Sequence[int]) -> NDArray[np.uint8]:
    """(N, H, W, 3): the colour of these frames, counted from 1, lit as the photo is (`i2v3d.geometry.light`).

    The light is found on frame 1, which the photo shows. Raises InputError if it is another view, there is no photo or
    it has another size than the render, ArtifactError if a file is missing or broken.
    """
    folder, spec = RenderFolder(render), SceneFolder(scene)
    if not spec.photo_file.is_file() or not spec.spec().starts_with_photo():
        raise InputError(f"{scene} has no photo of frame 1's own view, whose light could be found; {CHOOSE}")
    first, photo = folder.passes([1]), spec.photo()
    if photo.shape != first.rgb[0].shape:
        raise InputError(
            f"{spec.photo_file} is {photo.shape[1]}x{photo.shape[0]} but the render {first.rgb.shape[2]}x"
            f"{first.rgb.shape[1]}, so its light cannot be found; {CHOOSE}"
        )
    cameras, passes = folder.cameras(), folder.passes(frames)
    seen = surface_normals(first.depth_m[0], first.foreground[0], cameras.K[0], cameras.w2c[0])
    light = fit_light(photo, first.rgb[0], seen, first.foreground[0], first.depth_m[0])
    lit = []
    for i, frame in enumerate(frames):
        inside, depth_m, at = passes.foreground[i], passes.depth_m[i], frame - 1
        normals = surface_normals(depth_m, inside, cameras.K[at], cameras.w2c[at])
        lit.append(light.on(passes.rgb[i], normals, inside, depth_m))
    return np.stack(lit)
