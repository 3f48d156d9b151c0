"""A held-out clip of the toy world as a scene for Blender, and the truth about its frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from i2v3d.artifacts.scene_folder import MESHES, SceneFolder
from i2v3d.artifacts.scene_spec import CameraKey, ObjectSpec, SceneSpec, TransformKey
from i2v3d.config.scene import ToySceneConfig
from i2v3d.errors import InputError
from i2v3d.geometry.cameras import Array, invert_pose
from i2v3d.geometry.meshes import write_glb
from i2v3d.images import FloatMap, Mask, Rgb
from i2v3d.toy.world.catalogue import SHAPES
from i2v3d.toy.world.clips import held_out_clip, turned
from i2v3d.toy.world.meshes import Part, ToyMeshes, toy_meshes
from i2v3d.toy.world.render import Renderer, cameras, coverage
from i2v3d.toy.world.sampling import Scenes

STILL = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Truth:
    """What really is in the F frames of a clip, all sampled as Blender's passes are.

    photo: (F, H, W, 3) uint8, lit and anti-aliased. mask: (F, H, W), the object is seen at the pixel's
    centre. depth_m: (F, H, W) planar, at the pixel's centre, inf in the sky. plate: (H, W, 3), the photo of
    the first frame without the object and its shadow.
    """

    photo: Rgb
    mask: Mask
    depth_m: FloatMap
    plate: Rgb


def load_clip(cfg: ToySceneConfig) -> Scenes:
    """The clip that a configuration means. Raises ConfigError as `held_out_clip`."""
    clip = held_out_clip(cfg.seed, cfg.variants, cfg.index, cfg.frames, cfg.pace)
    return clip if cfg.view_deg is None else turned(clip, cfg.view_deg)


def truth(clip: Scenes, width: int, height: int, samples: int) -> Truth:
    """Renders a clip of one scene in closed form.

    Raises InputError if its first frame does not show the object, or nothing else.
    """
    render = Renderer(width, height, samples=samples, chunk=1, compile=False, coarse="flat")
    frames, seen = render(clip), coverage(clip, width, height)[0].numpy()
    if not seen[0].any() or seen[0].all():
        raise InputError("the clip's first frame does not show the object before a background; take another")
    away = torch.tensor([0.0, 0.0, -50.0])  # far under the ground, which hides it
    still = {name: getattr(clip, name)[:, :1] for name in ("eye", "target", "place", "heading", "bend")}
    empty = clip._replace(**(still | {"place": still["place"] + away}))
    return Truth(
        photo=_rgb(frames.photo[0]),
        mask=seen,
        depth_m=frames.depth[0, :, 0].numpy(),
        plate=_rgb(render(empty).photo[0])[0],
    )


def _rgb(pictures: torch.Tensor) -> Rgb:
    """(F, 3, H, W) in [0, 1] to (F, H, W, 3) uint8."""
    bytes_: Rgb = (pictures * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return bytes_


def write_truth(scene: SceneFolder, known: Truth) -> None:
    """Writes the truth of every frame into the folder of the scene."""
    rows = zip(known.photo, known.mask, known.depth_m, strict=True)
    for number, (photo, mask, depth_m) in enumerate(rows, start=1):
        scene.write_truth(number, photo, mask, depth_m)


def write_toy_scene(cfg: ToySceneConfig, clip: Scenes, out: Path) -> ToyMeshes:
    """Writes out/meshes/*.glb and out/scene.json, with a key for every frame; returns the meshes."""
    meshes = toy_meshes(clip, cfg.width, cfg.height)
    (out / MESHES).mkdir()
    objects = [
        ObjectSpec(part.name, "foreground", _mesh(part.name), _vector(part.pivot_m), part_keys(part))
        for part in meshes.parts
    ]
    objects += [ObjectSpec(name, "background", _mesh(name), STILL) for name in ("ground", "sky")]
    surfaces = {part.name: part.mesh for part in meshes.parts} | {"ground": meshes.ground, "sky": meshes.sky}
    for name, surface in surfaces.items():
        write_glb(out / _mesh(name), surface)
    spec = SceneSpec(
        name=cfg.name,
        width=cfg.width,
        height=cfg.height,
        frames=cfg.frames,
        fps=cfg.fps,
        cx_px=cfg.width / 2,
        cy_px=cfg.height / 2,
        camera=camera_keys(clip, cfg.width, cfg.height),
        objects=tuple(objects),
        notes={
            "class_name": SHAPES[int(clip.shape[0])],
            "caption": cfg.caption,
            "toy": {"seed": cfg.seed, "variants": cfg.variants, "index": cfg.index},
        },
    )
    SceneFolder(out).write_spec(spec)
    return meshes


def camera_keys(clip: Scenes, width: int, height: int) -> tuple[CameraKey, ...]:
    """One LINEAR key for every frame of a clip of one scene."""
    view = cameras(clip, width, height)
    poses = invert_pose(view.world_to_camera[0].double().numpy())
    focal_px = view.intrinsics[0, :, 0, 0].tolist()
    return tuple(
        CameraKey(frame, tuple(tuple(row) for row in pose.tolist()), focal, "LINEAR")
        for frame, (pose, focal) in enumerate(zip(poses, focal_px, strict=True), start=1)
    )


def part_keys(part: Part) -> tuple[TransformKey, ...]:
    """One LINEAR key for every frame; angles go the short way from frame to frame."""
    turns = Rotation.from_matrix(part.rotation).as_euler("xyz")  # about fixed axes: Blender's XYZ
    angles_deg = np.degrees(np.unwrap(turns, axis=0))
    return tuple(
        TransformKey(frame, _vector(shift), _vector(angles), (1.0, 1.0, 1.0), "LINEAR")
        for frame, (shift, angles) in enumerate(zip(part.translation_m, angles_deg, strict=True), start=1)
    )


def _mesh(name: str) -> str:
    return f"{MESHES}/{name}.glb"


def _vector(values: Array) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return (x, y, z)
