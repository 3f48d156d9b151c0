"""What the page shows of a scene: surfaces, where they are at every frame, and the camera, as the render has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from i2v3d.artifacts.scene_spec import ObjectSpec, SceneSpec, VisibilityKey
from i2v3d.blender.api import inspect_mesh
from i2v3d.blender.motion import BlendLook, Motion, Surface, blend_look, scene_motion
from i2v3d.config.bounds import Vector
from i2v3d.config.scene import BlendSceneConfig, PhotoSceneConfig, SceneConfig, ToySceneConfig
from i2v3d.errors import ConfigError
from i2v3d.geometry.cameras import Array, invert_pose, transform
from i2v3d.images import Rgb
from i2v3d.scene.from_photo import animation, own_objects, photo_parts
from i2v3d.scene.motion.animation import Shot
from i2v3d.scene.motion.camera_path import View
from i2v3d.scene.photo.view import PhotoView
from i2v3d.studio.key_curves import pivot_pose

MOVING = ("camera", "keys", "pivot_m", "objects", "remove", "actions", "shape_keys", "visibility")
LENGTHS = ("frames", "start_frame", "fps", "prompt", "lighting", "name", "class_name")


@dataclass(frozen=True)
class Stage:
    """What does not move: the photo's view and its meshes, in `folder`. pivot_m: what camera moves are about."""

    folder: Path
    view: PhotoView
    pivot_m: Vector
    own: Mapping[str, ObjectSpec]
    photo: Rgb


@dataclass(frozen=True)
class Shown:
    """A scene at every frame of its shot. views: the camera. photo_view: of the photo, if there is one. poses: of each
    object, (T, 4, 4), world from its mesh's axes (None: `surfaces` has it in the world). visible: (T,) of each."""

    shot: Shot
    size: tuple[int, int]
    centre_px: tuple[float, float]
    views: tuple[View, ...]
    photo_view: View | None
    pivot_m: Vector
    objects: tuple[ObjectSpec, ...]
    poses: Mapping[str, Array]
    surfaces: Mapping[str, Surface]
    visible: Mapping[str, tuple[bool, ...]]
    exact: bool  # whether curves between objects' keys are Blender's own

    def names(self) -> list[str]:
        return [item.name for item in self.objects]


def stage_config(scene: Mapping[str, object]) -> dict[str, object]:
    """The options of a photo's scene that decide its meshes; equal ones mean an equal `Stage`."""
    camera = scene["camera"]
    assert isinstance(camera, Mapping)
    fixed = {key: value for key, value in scene.items() if key not in (*MOVING, *LENGTHS)}
    return fixed | {"fov_deg": camera["fov_deg"]}


def build_stage(cfg: PhotoSceneConfig, folder: Path, work: Path) -> Stage:
    """Makes mask, plate and meshes of a photo in an empty folder, as the scene stage does. Raises as `build_photo`."""
    read = partial(inspect_mesh, max_faces=cfg.max_faces, log_dir=work)
    parts = photo_parts(cfg, folder, work, "cpu", read)
    own = own_objects(parts.meshes, folder, cfg.max_faces)
    return Stage(folder, parts.view, parts.meshes.pivot_m, own, parts.framed.rgb)


def show_photo(cfg: PhotoSceneConfig, stage: Stage, folder: Path) -> Shown:
    """A photo's scene as it moves now, objects between keys nearly (see `exactly`). folder: for meshes of files.

    Raises ConfigError and InputError as the scene stage.
    """
    path, objects = animation(cfg, stage.view, stage.pivot_m, stage.own, folder)
    shot = Shot(cfg.start_frame, cfg.frames, cfg.fps)
    poses = {
        item.name: np.stack([_placed(item, pivot_pose(item, frame)) for frame in shot.timeline()])
        for item in objects
    }
    return Shown(
        shot,
        (cfg.width, cfg.height),
        (path.cx_px, path.cy_px),
        path.views,
        View(stage.view.c2w, stage.view.focal_px),
        stage.pivot_m,
        objects,
        poses,
        {},
        {item.name: shown_frames(item.visibility, shot) for item in objects},
        exact=not any(item.keys or item.actions or item.shape_keys for item in objects),
    )


def exactly(shown: Shown, motion: Motion) -> Shown:
    """The same scene with objects where Blender has them."""
    poses = {
        item.name: np.stack([_placed(item, pose) for pose in motion.poses[item.name]])
        for item in shown.objects
    }
    return replace(shown, poses=poses, surfaces=motion.surfaces, exact=True)


def with_pose(shown: Shown, item: ObjectSpec, index: int, pivot: Array) -> Shown:
    """The same scene with an object's pivot elsewhere (4, 4) at a frame, counted from 0, as a gizmo drags it."""
    before, placed = shown.poses[item.name][index], _placed(item, pivot)
    poses = shown.poses[item.name].copy()
    poses[index] = placed
    found = replace(shown, poses={**shown.poses, item.name: poses})
    surface = shown.surfaces.get(item.name)
    if surface is None:
        return found
    points = surface.points_m[min(index, len(surface.points_m) - 1)]
    there = replace(surface, points_m=transform(placed @ np.linalg.inv(before), points)[None])
    return replace(found, surfaces={**shown.surfaces, item.name: there})


def with_view(shown: Shown, index: int, c2w: Array) -> Shown:
    """The same scene with the camera elsewhere (4, 4) at a frame, counted from 0."""
    views = list(shown.views)
    views[index] = replace(views[index], c2w=c2w)
    return replace(shown, views=tuple(views))


def plain_spec(cfg: SceneConfig, shown: Shown) -> SceneSpec:
    """The scene as Blender is asked where everything is."""
    return SceneSpec(
        name=cfg.name,
        width=cfg.width,
        height=cfg.height,
        frames=cfg.frames,
        fps=cfg.fps,
        cx_px=shown.centre_px[0],
        cy_px=shown.centre_px[1],
        camera=(),
        objects=shown.objects,
        start_frame=shown.shot.start_frame,
    )


def asked_blender(cfg: SceneConfig, shown: Shown, folder: Path) -> Shown:
    """`exactly`, of a Blender process. folder: where the meshes of the objects lie."""
    plain_spec(cfg, shown).save(folder / "scene.json")
    return exactly(shown, scene_motion(folder))


def show_toy(cfg: ToySceneConfig, folder: Path) -> Shown:
    """A clip of the toy world, which has no options of motion. folder: empty."""
    from i2v3d.toy.scene import load_clip, write_toy_scene  # torch

    write_toy_scene(cfg, load_clip(cfg), folder)
    spec = SceneSpec.load(folder / "scene.json")
    shot = Shot(spec.start_frame, spec.frames, spec.fps)
    views = tuple(View(np.array(key.world_from_camera), key.focal_px) for key in spec.camera)
    found = Shown(
        shot, (spec.width, spec.height), (spec.cx_px, spec.cy_px), views, views[0], spec.objects[0].pivot_m,
        spec.objects, {}, {}, {item.name: shown_frames(item.visibility, shot) for item in spec.objects}, exact=False,
    )  # fmt: skip
    return exactly(found, scene_motion(folder))


def show_blend(cfg: BlendSceneConfig) -> Shown:
    """An artist's .blend, whose own objects say what they are until `foreground` names some of them."""
    shot = Shot(cfg.start_frame, cfg.frames, cfg.fps)
    blend = Path(cfg.blend)
    changed_ns = blend.stat().st_mtime_ns if blend.is_file() else 0
    look = _look(blend.resolve(), changed_ns, cfg.start_frame, shot.last_frame)
    if not look.objects:
        raise ConfigError(f"{cfg.blend} has no object with faces; add some, or choose another file")
    c2w = invert_pose(look.w2c)
    scale = cfg.width / (2 * look.K[0, 0, 2])  # the file's render size need not be the scene's
    views = tuple(View(pose, float(k[0, 0] * scale)) for pose, k in zip(c2w, look.K, strict=True))
    low = np.min([item.surface.points_m[0].min(axis=0) for item in look.objects], axis=0)
    high = np.max([item.surface.points_m[0].max(axis=0) for item in look.objects], axis=0)
    x, y, z = ((low + high) / 2).tolist()
    return Shown(
        shot, (cfg.width, cfg.height), (cfg.width / 2, cfg.height / 2), views, None, (x, y, z),
        tuple(
            ObjectSpec(o.name, "foreground" if _is_foreground(o.name, o.role, cfg) else "background", "", (x, y, z))
            for o in look.objects
        ),
        {}, {o.name: o.surface for o in look.objects}, {o.name: o.shown for o in look.objects}, exact=True,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _look(blend: Path, changed_ns: int, first_frame: int, last_frame: int) -> BlendLook:
    """`blend_look` of a file as it was last: most edits, such as of the foreground, ask for the same again."""
    return blend_look(blend, first_frame, last_frame)


def _is_foreground(name: str, role: str, cfg: BlendSceneConfig) -> bool:
    return name in cfg.foreground if cfg.foreground else role == "foreground"


def _placed(item: ObjectSpec, pivot: Array) -> Array:
    """World from mesh axes: the mesh's place, below its pivot."""
    back = np.eye(4)
    back[:3, 3] = -np.asarray(item.pivot_m)
    return pivot @ back @ np.array(item.place)


def shown_frames(keys: tuple[VisibilityKey, ...], shot: Shot) -> tuple[bool, ...]:
    """Whether an object is shown at each frame; before its first key it is the opposite."""

    def at(frame: int) -> bool:
        past = [key.visible for key in keys if key.frame <= frame]
        return past[-1] if past else not keys or not keys[0].visible

    return tuple(at(frame) for frame in shot.timeline())
