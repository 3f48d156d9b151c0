"""The objects of a scene on the page: each mesh is sent once, and moves by its pose; what bends, a mesh a frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from i2v3d.artifacts.scene_spec import ObjectSpec
from i2v3d.blender.motion import Surface
from i2v3d.geometry.cameras import Array
from i2v3d.studio.desk import Desk
from i2v3d.studio.gizmo import wxyz
from i2v3d.studio.shown import Shown
from i2v3d.studio.sight import Body
from i2v3d.studio.surfaces import MOST_FACES, page_mesh, surface_mesh, thin_surface, thinned

BODY_FACES = 4000  # of the copies that warnings are worked out with
KEPT_FACES = 3_000_000  # of one object's frames, together, that stay on the page while it plays


class Bodies:
    """Keeps viser's meshes like a shown scene. of: what warnings are worked out with, by name."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._scene = desk, desk.server.scene
        self._made: dict[str, tuple[object, dict[int, Any]]] = {}  # name -> (of what, handles by frame)
        self._thin: dict[str, tuple[Surface, Surface]] = {}  # of surfaces, for the page and for warnings
        self.of: dict[str, Body] = {}

    def show(self, shown: Shown, index: int) -> None:
        """Has every object as it is at a frame, counted from 0."""
        for name in set(self._made) - set(shown.names()):
            self._forget(name)
        for item in shown.objects:
            surface = shown.surfaces.get(item.name)
            seen = shown.visible[item.name][index]
            if surface is not None:
                self._bent(item, surface, index, seen)
            else:
                self._rigid(item, shown.poses[item.name][index], seen)

    def _rigid(self, item: ObjectSpec, pose: Array, seen: bool) -> None:
        session = self._desk.session
        assert session is not None
        path = session.mesh_folder() / item.mesh
        source = (str(path), item.role)
        if self._source(item.name) != source:
            self._forget(item.name)
            self._made[item.name] = (source, {0: self._add(item, path)})
        (handle,) = self._made[item.name][1].values()
        handle.visible = seen
        scale = np.linalg.norm(pose[:3, :3], axis=0)  # without shear, which viser has not
        handle.position, handle.wxyz = pose[:3, 3], wxyz(pose[:3, :3] / scale)
        if hasattr(handle, "scale"):
            handle.scale = tuple(float(value) for value in scale)

    def _add(self, item: ObjectSpec, path: Any) -> Any:
        node = f"/objects/{item.name}"
        if path.suffix.lower() == ".fbx":  # Blender's answer brings its surface
            return self._scene.add_frame(node, show_axes=False)
        made = page_mesh(path)
        self.of[item.name] = Body.of(thinned(made, BODY_FACES), item.role == "foreground")
        return self._scene.add_mesh_trimesh(node, made, cast_shadow=False, receive_shadow=False)

    def _bent(self, item: ObjectSpec, surface: Surface, index: int, seen: bool) -> None:
        """A surface has its own points at every frame: those that were sent are only shown again."""
        frame, source = min(index, len(surface.points_m) - 1), (surface, item.role)
        if self._source(item.name) != source:
            self._forget(item.name)
            self._made[item.name] = (source, {})
            self._thin[item.name] = (thin_surface(surface, MOST_FACES), thin_surface(surface, BODY_FACES))
        frames, (page, few) = self._made[item.name][1], self._thin[item.name]
        if frame not in frames:
            if (len(frames) + 1) * len(page.faces) > KEPT_FACES:
                for handle in frames.values():
                    handle.remove()
                frames.clear()
            frames[frame] = self._scene.add_mesh_trimesh(
                f"/objects/{item.name}/{frame}",
                surface_mesh(page, frame),
                cast_shadow=False,
                receive_shadow=False,
            )
        self.of[item.name] = Body(
            item.role == "foreground", few.points_m[frame], few.points_m[frame][few.faces]
        )
        for number, handle in frames.items():
            handle.visible = seen and number == frame

    def _source(self, name: str) -> object:
        return self._made[name][0] if name in self._made else None

    def _forget(self, name: str) -> None:
        for handle in self._made.pop(name, (None, {}))[1].values():
            handle.remove()
        self.of.pop(name, None)
        self._thin.pop(name, None)
