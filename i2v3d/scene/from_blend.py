"""A scene from a .blend that an artist made, or changed after this project made it: its plain data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from i2v3d.artifacts.scene_spec import CameraKey, ObjectSpec, SceneSpec
from i2v3d.config.scene import BlendSceneConfig
from i2v3d.errors import ConfigError, InputError
from i2v3d.geometry.cameras import invert_pose
from i2v3d.images import Rgb
from i2v3d.scene.blend_files import GZIP, PLAIN, ZSTANDARD
from i2v3d.scene.motion.camera_path import rows
from i2v3d.scene.photo.framing import Framing, load_photo

CENTRE_TOLERANCE_PX = 0.01


def check_blend(cfg: BlendSceneConfig) -> None:
    """Raises InputError if the .blend or the photo is missing or no such file."""
    path = Path(cfg.blend)
    try:
        with path.open("rb") as content:
            head = content.read(8)
    except OSError as error:
        raise InputError(
            f"scene.blend: {path} cannot be read ({error.strerror}); correct the path"
        ) from error
    if not head.startswith((PLAIN, ZSTANDARD, GZIP)):
        raise InputError(f"scene.blend: {path} is no .blend file; save it in Blender again")
    load_photo(Path(cfg.photo))


def blend_spec(cfg: BlendSceneConfig, contents: Mapping[str, Any] | None) -> SceneSpec:
    """The scene as plain data, all of whose objects are in scene.blend.

    contents: what `i2v3d.blender.api.adopt_blend` found; None: nothing is known yet but the options. Raises
    ConfigError if the camera's principal point moves, InputError for more faces than the cap.
    """
    spec = SceneSpec(
        name=cfg.name,
        width=cfg.width,
        height=cfg.height,
        frames=cfg.frames,
        fps=cfg.fps,
        cx_px=cfg.width / 2,
        cy_px=cfg.height / 2,
        camera=(),
        objects=(),
        notes={"class_name": cfg.class_name, "blend": Path(cfg.blend).name},
        start_frame=cfg.start_frame,
    )
    if contents is None:
        return spec
    if contents["faces"] > cfg.max_faces:
        raise InputError(
            f"{cfg.blend} has {contents['faces']} faces, more than scene.max_faces = {cfg.max_faces}; "
            "decimate it, or raise the cap"
        )
    K = np.array([camera["K"] for camera in contents["cameras"]])
    if np.ptp(K[:, :2, 2], axis=0).max() > CENTRE_TOLERANCE_PX:
        raise ConfigError(f"{cfg.blend} animates the camera's shift; key its rotation or place instead")
    c2w = invert_pose(np.array([camera["w2c"] for camera in contents["cameras"]]))
    views = enumerate(zip(K, c2w, strict=True), start=cfg.start_frame)
    data = vars(spec) | {
        "cx_px": float(K[0, 0, 2]),
        "cy_px": float(K[0, 1, 2]),
        "camera": tuple(CameraKey(n, rows(pose), float(k[0, 0]), "LINEAR") for n, (k, pose) in views),
        "objects": tuple(
            ObjectSpec(item["name"], item["role"], "scene.blend", tuple(item["pivot_m"]))
            for item in contents["objects"]
        ),
    }
    return SceneSpec(**data)


def framed_photo(cfg: BlendSceneConfig) -> Rgb:
    """The photo at the scene's size, cropped about its centre."""
    photo = load_photo(Path(cfg.photo))
    return Framing.centred(photo.width, photo.height, cfg.width, cfg.height).frame_rgb(photo.rgb)
