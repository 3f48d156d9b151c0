"""A finished scene for other programs."""

from __future__ import annotations

from pathlib import Path

import bpy

from i2v3d.blender.inside.frames import open_scene


def export_glb(scene_dir: Path, path: Path) -> None:
    """Writes all objects, their animation and the camera as binary glTF, every frame of the shot sampled.

    glTF knows no change of the focal length and no hiding: a zoom and visibility keys are left out.
    """
    open_scene(scene_dir, samples=1, device="cpu", threads=0)
    bpy.ops.export_scene.gltf(
        filepath=str(path),
        export_format="GLB",
        export_cameras=True,
        export_lights=True,
        export_animation_mode="SCENE",
        export_anim_scene_split_object=False,
        export_force_sampling=True,
        export_frame_range=True,
        export_apply=False,
        export_image_format="AUTO",
    )
