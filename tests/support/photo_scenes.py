"""Scene folders that hold no more than a photo and whether frame 1 shows its view."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from i2v3d.artifacts.scene_spec import CameraKey, SceneSpec
from i2v3d.images import Rgb, write_rgb


def write_photo_scene(folder: Path, photo: Rgb, frames: int, *, moved: bool = False) -> None:
    """A scene of this photo. moved: its first frame is another view than the photo's."""
    height, width = photo.shape[:2]
    folder.mkdir()
    pose = np.eye(4)
    view = {"world_from_camera": pose.tolist(), "focal_px": float(width)}
    pose[0, 3] = 0.5 if moved else 0.0
    key = CameraKey(1, tuple(map(tuple, pose.tolist())), float(width), "LINEAR")
    notes = {"photo_view": view}
    spec = SceneSpec("disc", width, height, frames, 8, width / 2, height / 2, (key,), (), notes=notes)
    spec.save(folder / "scene.json")
    write_rgb(folder / "photo.png", photo)
