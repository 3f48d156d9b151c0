"""A .blend that an artist made or changed, as the scene."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import bpy

from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.inside.camera import read_cameras
from i2v3d.blender.inside.frames import BLEND, load_blend
from i2v3d.blender.inside.roles import ROLE, role
from i2v3d.blender.inside.settings import configure
from i2v3d.blender.inside.sight import check_sight
from i2v3d.blender.jobs import AdoptJob
from i2v3d.errors import ConfigError, InputError, nearest

log = logging.getLogger(__name__)

CONTENTS = "contents.json"


def adopt_blend(job: AdoptJob) -> None:
    """Copies a .blend to out/scene.blend, everything packed, and writes what is in it to out/contents.json.

    Objects, materials, light and animation stay as they are; scripts in it do not run. Raises InputError if
    it cannot be opened, a newer Blender wrote it, it links other .blend files, or a texture is missing;
    ConfigError if there is no such foreground, or the camera never sees it or is inside it.
    """
    out, blend = Path(job.out), Path(job.blend)
    load_blend(blend, InputError)
    if bpy.app.autoexec_fail:
        reason = bpy.app.autoexec_fail_message
        log.warning("%s: scripts and Python drivers never run here (%s); bake them to keys", blend, reason)
    if bpy.data.libraries:
        names = ", ".join(sorted(library.filepath for library in bpy.data.libraries))
        raise InputError(
            f"{blend} links {names}; make everything local in Blender (Object, Relations) and save"
        )
    _check_images(blend)
    scene = bpy.context.scene
    _mark_foreground(scene, job.foreground, blend)
    spec = SceneSpec.load(out / "scene.json")
    configure(scene, spec, samples=1, device="cpu", threads=0)
    cameras = read_cameras(scene, range(1, spec.frames + 1), spec.start_frame - 1)
    check_sight(scene, spec)
    objects = [item for item in scene.objects if item.type == "MESH" and not item.hide_render]
    contents = {
        "cameras": [{"K": K.tolist(), "w2c": w2c.tolist()} for K, w2c in cameras.values()],
        "objects": [
            {"name": item.name, "role": role(item), "pivot_m": list(item.matrix_world.translation)}
            for item in objects
        ],
        "faces": sum(len(item.data.polygons) for item in objects),
    }
    (out / CONTENTS).write_text(json.dumps(contents))
    scene.frame_set(spec.start_frame)
    bpy.ops.file.pack_all()
    bpy.ops.wm.save_as_mainfile(filepath=str(out / BLEND), compress=True, copy=True)


def _check_images(blend: Path) -> None:
    """Raises InputError if a picture in use is neither packed nor to be found below the .blend's folder."""
    folder = blend.parent.resolve()
    for image in bpy.data.images:
        if image.source != "FILE" or image.packed_file is not None or not image.users:
            continue
        file = Path(bpy.path.abspath(image.filepath)).resolve()
        if not file.is_file() or not file.is_relative_to(folder):
            raise InputError(
                f"{blend} uses the picture {image.filepath}, which is not in its folder; "
                "pack it in Blender (File, External Data, Pack Resources) and save"
            )


def _mark_foreground(scene: bpy.types.Scene, names: tuple[str, ...], blend: Path) -> None:
    """Gives the named objects and collections the foreground's role; without names the roles in the file
    hold, which scenes of this project have."""
    objects = {item.name: [item] for item in scene.objects}
    collections = {item.name: list(item.all_objects) for item in scene.collection.children_recursive}
    known = collections | objects
    for name in names:
        if name not in known:
            raise ConfigError(f"scene.foreground names {name!r}, which {blend} lacks; {nearest(name, known)}")
    if names:
        for item in scene.objects:
            item[ROLE] = "background"
        for item in (item for name in names for item in known[name]):
            for part in (item, *item.children_recursive):
                part[ROLE] = "foreground"
    if not any(role(item) == "foreground" for item in scene.objects if item.type == "MESH"):
        meshes = ", ".join(sorted(item.name for item in scene.objects if item.type == "MESH")) or "none"
        raise ConfigError(
            f"{blend} has no foreground; name some in scene.foreground, of its meshes: {meshes}"
        )
