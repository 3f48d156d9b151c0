"""A .blend that an artist made or changed, as the scene."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import bpy
import numpy as np

from i2v3d.artifacts.scene_spec import SceneSpec
from i2v3d.blender.inside.camera import read_cameras, unit_m
from i2v3d.blender.inside.frames import BLEND, load_blend
from i2v3d.blender.inside.nodes import FACE_KINDS, everything
from i2v3d.blender.inside.pictures import keep_sequences, pack_files
from i2v3d.blender.inside.problems import named_objects, refuse_problems, warn_of_oddities
from i2v3d.blender.inside.roles import ROLE, foreground_meshes, role, world_vertices
from i2v3d.blender.inside.settings import configure
from i2v3d.blender.inside.sight import check_sight
from i2v3d.blender.jobs import AdoptJob, ExamineJob
from i2v3d.errors import InputError

log = logging.getLogger(__name__)

CONTENTS = "contents.json"
HUGE_M, TINY_M = 50.0, 0.01  # of a foreground, beyond which its unit is asked about


def examine_blend(job: ExamineJob) -> None:
    """Looks for everything that keeps a .blend from being the scene; nothing is written.

    Raises InputError that names all of it, or if the file cannot be opened.
    """
    scene = _opened(Path(job.blend))
    refuse_problems(scene, Path(job.blend), job.foreground, job.first_frame, job.last_frame)


def adopt_blend(job: AdoptJob) -> None:
    """Copies a .blend to out/scene.blend, everything packed, and writes what is in it to out/contents.json.

    Objects, materials, light and animation stay as they are; scripts in it do not run. Raises InputError as
    `examine_blend`, ConfigError if the camera never sees the foreground or is inside it.
    """
    out, blend = Path(job.out), Path(job.blend)
    spec = SceneSpec.load(out / "scene.json")
    scene = _opened(blend)
    refuse_problems(scene, blend, job.foreground, spec.start_frame, spec.last_frame)
    warn_of_oddities(scene, blend)
    _mark_foreground(scene, job.foreground)
    configure(scene, spec, samples=1, device="cpu", threads=0)
    cameras = read_cameras(scene, range(1, spec.frames + 1), spec.start_frame - 1)
    check_sight(scene, spec)
    scene.frame_set(spec.start_frame)
    _check_extent(scene, blend)
    scale = unit_m(scene)
    objects = [item for item in everything(scene) if item.type in FACE_KINDS and not item.hide_render]
    contents = {
        "cameras": [{"K": K.tolist(), "w2c": w2c.tolist()} for K, w2c in cameras.values()],
        "objects": [
            {
                "name": item.name,
                "role": role(item),
                "pivot_m": [scale * value for value in item.matrix_world.translation],
            }
            for item in objects
        ],
        "faces": sum(_faces(item) for item in objects),
    }
    (out / CONTENTS).write_text(json.dumps(contents))
    pack_files()
    keep_sequences(scene, out)
    bpy.ops.wm.save_as_mainfile(filepath=str(out / BLEND), compress=True, copy=True)


def _opened(blend: Path) -> bpy.types.Scene:
    load_blend(blend, InputError)
    if bpy.app.autoexec_fail:
        reason = bpy.app.autoexec_fail_message
        log.warning("%s: scripts and Python drivers never run here (%s); bake them to keys", blend, reason)
    return bpy.context.scene


def _faces(item: bpy.types.Object) -> int:
    """Polygons of an object; of text and curves those that they are rendered with."""
    if item.type == "MESH":
        return len(item.data.polygons)
    evaluated = item.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    count = 0 if mesh is None else len(mesh.polygons)
    evaluated.to_mesh_clear()
    return count


def _mark_foreground(scene: bpy.types.Scene, names: tuple[str, ...]) -> None:
    """Gives the named objects and collections the foreground's role; without names the roles in the file
    hold, which scenes of this project have."""
    if not names:
        return
    for item in everything(scene):
        item[ROLE] = "background"
    for item in named_objects(scene, names):
        item[ROLE] = "foreground"


def _check_extent(scene: bpy.types.Scene, blend: Path) -> None:
    """Says what a unit of the file is if it is no metre, and asks about a foreground that is no thing's size."""
    scale = unit_m(scene)
    if scale != 1:
        log.info("a unit of %s is %g m, by its unit scale: depth and cameras are in metres", blend, scale)
    points = scale * world_vertices(foreground_meshes(scene))
    size_m = float(np.ptp(points, axis=0).max()) if len(points) else 1.0
    if not TINY_M <= size_m <= HUGE_M:
        log.warning(
            "the foreground of %s is %.3g m large; if it is not, set its Unit Scale in Blender (Scene, Units)",
            blend,
            size_m,
        )
