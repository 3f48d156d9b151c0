"""The objects of a scene from its configuration: the photo's own, others beside or instead of them, and
everything that happens to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from i2v3d.artifacts.scene_spec import ActionSpec, Lighting, ObjectSpec, Pose, ShapeKey, VisibilityKey
from i2v3d.config.bounds import Vector
from i2v3d.config.control import LightingConfig, ObjectConfig, PlaceConfig, SunConfig
from i2v3d.config.scene import PhotoSceneConfig
from i2v3d.errors import ConfigError, nearest
from i2v3d.scene.mesh_files import check_mesh, copy_mesh
from i2v3d.scene.motion.animation import Shot, check_keys, check_order, object_keys
from i2v3d.scene.motion.camera_path import rows

OWN = ("foreground", "background")  # what a photo becomes


def check_objects(cfg: PhotoSceneConfig, shot: Shot) -> None:
    """Refuses objects that cannot be made, before any work.

    Raises ConfigError for names that are taken or unknown, objects with both or neither of mesh and
    copy_of, keys out of order or outside the shot, numbers that are not finite, and a scene that is left
    empty; InputError as `check_mesh`.
    """
    known = _names(cfg)
    check_keys(cfg.keys, shot)
    for number, item in enumerate(cfg.objects):
        where = f"scene.objects[{number}] ({item.name})"
        if (item.mesh is None) == (item.copy_of is None):
            raise ConfigError(f"{where} needs either mesh or copy_of; set the other one to null")
        if item.copy_of is not None:
            _source(cfg, item.copy_of, where)
        numbers = (*item.place.position_m, *item.place.rotation_deg, *(item.pivot_m or ()))
        if not all(math.isfinite(value) for value in numbers):
            raise ConfigError(f"{where} holds a number that is not finite; give finite ones")
        check_keys(item.keys, shot, f"scene.objects[{number}].keys")
        if item.mesh is not None:
            check_mesh(Path(item.mesh), cfg.max_faces)
    for option in ("actions", "shape_keys", "visibility"):
        for number, event in enumerate(getattr(cfg, option)):
            if event.object not in known:
                raise ConfigError(
                    f"scene.{option}[{number}].object is {event.object!r}; {nearest(event.object, known)}"
                )
    for name in known:
        _check_events(cfg, name, shot)


def _names(cfg: PhotoSceneConfig) -> list[str]:
    """Names of all objects of the scene. Raises ConfigError if one is taken twice, or none is left."""
    for number, name in enumerate(cfg.remove):
        if name not in OWN:
            raise ConfigError(f"scene.remove[{number}] is {name!r}; {nearest(name, OWN)}")
    added = [item.name for item in cfg.objects]
    twice = next((name for name in added if added.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"scene.objects has two objects called {twice!r}; give each its own name")
    names = [name for name in OWN if name not in cfg.remove and name not in added] + added
    if not names:
        raise ConfigError("scene.remove leaves the scene without any object; keep one or add some")
    return names


def _source(cfg: PhotoSceneConfig, name: str, where: str) -> ObjectConfig | str:
    """The object that another one copies: an entry with a mesh, or the name of one of the photo's own."""
    entries = {item.name: item for item in cfg.objects}
    if name in entries:
        if entries[name].mesh is None:
            raise ConfigError(
                f"{where}.copy_of names {name!r}, itself a copy; name {entries[name].copy_of!r}"
            )
        return entries[name]
    if name in OWN:
        return name
    raise ConfigError(f"{where}.copy_of is {name!r}; {nearest(name, [*OWN, *entries])}")


def scene_objects(
    cfg: PhotoSceneConfig, shot: Shot, own: Mapping[str, ObjectSpec], out: Path
) -> tuple[ObjectSpec, ...]:
    """Every object of the scene, with the meshes of files copied into out/meshes/.

    own: the photo's foreground and background, which come first unless they are removed or replaced.
    Raises ConfigError and InputError as `check_objects`.
    """
    check_objects(cfg, shot)
    replaced = {item.name for item in cfg.objects}
    found = [item for name, item in own.items() if name not in cfg.remove and name not in replaced]
    found += [_added(cfg, number, shot, own, out) for number in range(len(cfg.objects))]
    return tuple(_with_events(cfg, item) for item in found)


def _added(
    cfg: PhotoSceneConfig, number: int, shot: Shot, own: Mapping[str, ObjectSpec], out: Path
) -> ObjectSpec:
    """One entry of scene.objects. A copy of the photo's own object is placed relative to that one."""
    item = cfg.objects[number]
    place, pivot_m = _place(item.place), item.pivot_m or item.place.position_m
    if item.mesh is not None:
        mesh = _copied(Path(item.mesh), item.name, out, cfg.max_faces)
    else:
        assert item.copy_of is not None, "checked by check_objects"
        source = _source(cfg, item.copy_of, f"scene.objects[{number}]")
        if isinstance(source, str):
            mesh = own[source].mesh
            x, y, z = (p + t for p, t in zip(own[source].pivot_m, item.place.position_m, strict=True))
            place, pivot_m = _about(place, own[source].pivot_m), item.pivot_m or (x, y, z)
        else:
            mesh = _copied(Path(str(source.mesh)), source.name, out, cfg.max_faces)
    keys = object_keys(item.keys, shot, f"scene.objects[{number}].keys")
    return ObjectSpec(item.name, item.role, mesh, pivot_m, keys, place)


def _copied(mesh: Path, name: str, out: Path, max_faces: int) -> str:
    """Copies an object's file into the scene; returns its path relative to the scene."""
    return str(copy_mesh(mesh, out / "meshes" / name.replace(" ", "_"), max_faces).relative_to(out))


def _place(place: PlaceConfig) -> Pose:
    matrix = np.eye(4)
    turn = Rotation.from_euler("xyz", place.rotation_deg, degrees=True).as_matrix()
    matrix[:3, :3], matrix[:3, 3] = place.scale * turn, place.position_m
    return rows(matrix)


def _about(place: Pose, pivot_m: Vector) -> Pose:
    """A place whose rotation and scale are about a point, and whose position is an offset."""
    matrix = np.array(place)
    matrix[:3, 3] += np.array(pivot_m) - matrix[:3, :3] @ pivot_m
    return rows(matrix)


def _check_events(cfg: PhotoSceneConfig, name: str, shot: Shot) -> None:
    """Raises ConfigError unless each list of one object's events ascends."""
    starts = [event.start_frame for event in cfg.actions if event.object == name]
    check_order(starts, f"scene.actions of {name!r}", shot)
    turns = [event.frame for event in cfg.visibility if event.object == name]
    check_order(turns, f"scene.visibility of {name!r}", shot)
    shapes = [event for event in cfg.shape_keys if event.object == name]
    for shape in dict.fromkeys(event.shape_key for event in shapes):
        frames = [event.frame for event in shapes if event.shape_key == shape]
        check_order(frames, f"scene.shape_keys {shape!r} of {name!r}", shot)


def _with_events(cfg: PhotoSceneConfig, item: ObjectSpec) -> ObjectSpec:
    """An object with its actions, shape keys and visibility."""
    return replace(
        item,
        actions=tuple(
            ActionSpec(e.action, e.start_frame, e.speed, e.repeat)
            for e in cfg.actions
            if e.object == item.name
        ),
        shape_keys=tuple(
            ShapeKey(e.shape_key, e.frame, e.value, e.interpolation)
            for e in cfg.shape_keys
            if e.object == item.name
        ),
        visibility=tuple(VisibilityKey(e.frame, e.visible) for e in cfg.visibility if e.object == item.name),
    )


def lighting(cfg: LightingConfig) -> Lighting:
    """The light of a scene. Raises ConfigError if a lit scene has none."""
    if cfg.style == "lit" and cfg.sun.strength == 0 and cfg.world.strength == 0:
        raise ConfigError("scene.lighting is lit but sun and world have strength 0; give one of them some")
    return Lighting(
        style=cfg.style,
        sun_direction=_sun_direction(cfg.sun),
        sun_angle_deg=cfg.sun.angle_deg,
        sun_strength=cfg.sun.strength,
        sun_colour=cfg.sun.colour,
        world_strength=cfg.world.strength,
        world_colour=cfg.world.colour,
    )


def _sun_direction(sun: SunConfig) -> Vector:
    azimuth, elevation = math.radians(sun.azimuth_deg), math.radians(sun.elevation_deg)
    across = math.cos(elevation)
    return (across * math.cos(azimuth), across * math.sin(azimuth), math.sin(elevation))
