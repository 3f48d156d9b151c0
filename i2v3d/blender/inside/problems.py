"""What keeps an artist's .blend from being the scene: all of it in one message, and only what the render shows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import bpy

from i2v3d.blender.inside.nodes import FACE_KINDS, everything, feeding, may_show, shown_materials
from i2v3d.blender.inside.pictures import missing_pictures
from i2v3d.blender.inside.roles import role
from i2v3d.errors import InputError, nearest

log = logging.getLogger(__name__)

KINDS = f"{', '.join(FACE_KINDS.values())}, a collection of these or an instance of one"
_UNSEEN = {"GPENCIL": "grease pencil", "GREASEPENCIL": "grease pencil", "VOLUME": "a volume"}
MOST_NAMES = 12
FAR = 1e5  # of the origin, in Blender's units: places are known to a hundredth there


def refuse_problems(
    scene: bpy.types.Scene, blend: Path, foreground: tuple[str, ...], first_frame: int, last_frame: int
) -> None:
    """Raises InputError that names everything that is wrong, with what to do about each.

    foreground: names of objects or collections; none: roles in the file. first_frame, last_frame: of the shot.
    """
    problems = [*_libraries(), *missing_pictures(scene, blend), *_cameras(scene, first_frame, last_frame)]
    problems += _foreground(scene, foreground)
    if len(problems) == 1:
        raise InputError(f"{blend} {problems[0]}")
    if problems:
        listed = "; ".join(f"({number}) it {problem}" for number, problem in enumerate(problems, start=1))
        raise InputError(f"{blend} cannot be the scene for {len(problems)} reasons: {listed}")


def warn_of_oddities(scene: bpy.types.Scene, blend: Path) -> None:
    """Warns about what Blender renders in its own way, or not at all, and an artist may not expect."""
    empty = {
        material.name
        for material in shown_materials(scene)
        for node in feeding(material.node_tree)
        if node.type in ("TEX_IMAGE", "TEX_ENVIRONMENT") and node.image is None
    }
    if empty:
        log.warning("%s: image nodes without a picture render as one colour in %s", blend, _listed(empty))
    unseen = {f"{item.name} ({_UNSEEN[item.type]})" for item in everything(scene) if item.type in _UNSEEN}
    if unseen:
        log.warning("%s: %s cannot be rendered here and is left out", blend, _listed(unseen))
    reach = max(map(abs, scene.camera.matrix_world.translation), default=0.0) if scene.camera else 0.0
    if reach > FAR:
        log.warning(
            "%s is seen from %.3g beside the origin, where Blender knows places to %.2g only: move all of it nearer",
            *(blend, reach, reach * 2.0**-23),
        )
    layers = [layer.name for layer in scene.view_layers if layer.use]
    if len(layers) > 1:
        log.warning("%s has the view layers %s: the first one is rendered", blend, _listed(layers, keep=True))
    if len(bpy.data.scenes) > 1:
        log.warning("%s has several scenes: %r, which was open in it, is rendered", blend, scene.name)
    if not any(item.type == "LIGHT" for item in everything(scene)) and not _shines(scene.world):
        log.warning("%s has no light: what does not shine by itself is black; add a light or a world", blend)


def _shines(world: bpy.types.World | None) -> bool:
    """Whether a world gives light; one of nodes does unless its background is black or off."""
    if world is None:
        return False
    if world.node_tree is None or not world.use_nodes:
        return max(world.color) > 0
    nodes = [node for node in feeding(world.node_tree) if node.type == "BACKGROUND"]
    return any(
        node.inputs["Strength"].is_linked
        or (node.inputs["Strength"].default_value > 0 and _coloured(node.inputs["Color"]))
        for node in nodes
    )


def _coloured(socket: bpy.types.NodeSocket) -> bool:
    return socket.is_linked or max(socket.default_value[:3]) > 0


def named_objects(scene: bpy.types.Scene, names: Iterable[str]) -> Iterator[bpy.types.Object]:
    """The objects that names of objects and collections mean, with what hangs on them and what they instance."""
    known = _known(scene)
    for name in names:
        for item in known.get(name, ()):
            for part in (item, *item.children_recursive):
                yield part
                yield from instanced(part)


def instanced(item: bpy.types.Object) -> list[bpy.types.Object]:
    """The objects that an object shows as instances of a collection."""
    if item.instance_type != "COLLECTION" or item.instance_collection is None:
        return []
    return list(item.instance_collection.all_objects)


def _known(scene: bpy.types.Scene) -> dict[str, list[bpy.types.Object]]:
    objects = {item.name: [item] for item in scene.objects}
    return {item.name: list(item.all_objects) for item in scene.collection.children_recursive} | objects


def _libraries() -> list[str]:
    if not bpy.data.libraries:
        return []
    names = ", ".join(sorted(library.filepath for library in bpy.data.libraries))
    return [f"links {names}; make everything local in Blender (Object, Relations, Make Local) and save"]


def _cameras(scene: bpy.types.Scene, first: int, last: int) -> list[str]:
    """Cameras that the shot's frames look through and that are no perspective ones."""
    if scene.camera is None and not any(marker.camera for marker in scene.timeline_markers):
        return ["has no active camera; set one in Blender (Scene properties) and save"]
    bound = sorted((m.frame, m.camera) for m in scene.timeline_markers if m.camera is not None)
    before = [camera for frame, camera in bound if frame <= first]
    used = [before[-1] if before else bound[0][1] if bound else scene.camera]  # as Blender chooses
    used += [camera for frame, camera in bound if first < frame <= last]
    wrong = {camera.name: camera.data.type for camera in used if camera and camera.data.type != "PERSP"}
    return [
        f"looks through camera {name!r}, which is {kind}; expected a perspective camera: set its Type"
        for name, kind in sorted(wrong.items())
    ]


def _foreground(scene: bpy.types.Scene, names: tuple[str, ...]) -> list[str]:
    known = _known(scene)
    problems = []
    for name in names:
        if name not in known:
            problems.append(f"lacks {name!r}, which scene.foreground names; {nearest(name, known)}")
        elif not any(part.type in FACE_KINDS for part in named_objects(scene, [name])):
            kinds = ", ".join(sorted({item.type.lower() for item in known[name]})) or "empty"
            problems.append(
                f"has nothing with faces in {name!r} ({kinds}), which scene.foreground names; name a {KINDS}"
            )
    if problems:
        return problems
    if names:
        return _shared_instances(scene, set(named_objects(scene, names)))
    if any(role(item) == "foreground" for item in everything(scene) if item.type in FACE_KINDS):
        return []
    there = sorted(item.name for item in scene.objects if _can_be(item))
    return [
        f"has no foreground; name some in scene.foreground, of its objects: {_listed(there, keep=True) or 'none'}"
    ]


def _can_be(item: bpy.types.Object) -> bool:
    shown = item.type in FACE_KINDS or any(part.type in FACE_KINDS for part in instanced(item))
    return shown and may_show(item)


def _shared_instances(scene: bpy.types.Scene, chosen: set[bpy.types.Object]) -> list[str]:
    """Collections of which one instance is foreground and another is not: their objects can have one role alone."""
    found = {
        item.instance_collection.name
        for item in scene.objects
        if instanced(item) and item not in chosen and set(instanced(item)) & chosen
    }
    return [
        f"shows collection {name!r} in foreground and background alike; make one of its instances real "
        "(Object, Apply, Make Instances Real)"
        for name in sorted(found)
    ]


def _listed(names: Iterable[str], keep: bool = False) -> str:
    ordered = list(names) if keep else sorted(names)
    more = f" and {len(ordered) - MOST_NAMES} more" if len(ordered) > MOST_NAMES else ""
    return ", ".join(ordered[:MOST_NAMES]) + more
