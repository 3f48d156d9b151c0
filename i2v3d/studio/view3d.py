"""The scene in 3D: meshes, ground, the photo's camera, the camera's path with a frustum a key, and the gizmo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import viser
from PIL import Image
from scipy.spatial.transform import Rotation

from i2v3d.geometry.cameras import Array
from i2v3d.scene.motion.camera_path import View
from i2v3d.studio.desk import Desk
from i2v3d.studio.shown import Shown
from i2v3d.studio.sight import Body
from i2v3d.studio.surfaces import MOST_FACES, page_mesh, surface_mesh, thinned

ACCENT, KEY, PATH, PHOTO = (255, 122, 26), (86, 156, 255), (150, 170, 200), (170, 170, 170)
BODY_FACES = 4000  # of the copies that warnings are worked out with
THUMBNAIL_PX = 320


def wxyz(turn: Array) -> Array:
    """A rotation (3, 3) as viser takes it."""
    x, y, z, w = Rotation.from_matrix(turn).as_quat()
    return np.array([w, x, y, z])


class View3D:
    """Keeps viser's scene like the desk's. bodies: what warnings are worked out with."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._scene = desk, desk.server.scene
        self._scene.set_up_direction("+z")
        self._meshes: dict[str, tuple[object, Any]] = {}
        self._static: object = None
        self.bodies: dict[str, Body] = {}
        self.through = False  # whether pages look through the shot's camera
        self.target: str | None = None  # what the gizmo moves
        self._gizmo: viser.TransformControlsHandle | None = None
        self._grid()

    def _grid(self) -> None:
        self._scene.add_grid(
            "/ground", width=20, height=20, plane="xy", cell_size=0.1, section_size=1.0,
            cell_color=(60, 64, 72), section_color=(88, 94, 106), position=(0.0, 2.0, -0.002),
        )  # fmt: skip

    # ------------------------------------------------------------ everything
    def update(self) -> None:
        """Shows the desk's scene at its frame."""
        shown = self._desk.shown
        if shown is None:
            return
        with self._desk.server.atomic():
            if shown is not self._static:
                self._path(shown)
                self._static = shown
            self._objects(shown)
            self._camera(shown)
        if self.through:
            for client in self._desk.server.get_clients().values():
                self.look(client, shown.views[self._desk.index], shown)

    def _objects(self, shown: Shown) -> None:
        index = self._desk.index
        for name in set(self._meshes) - set(shown.names()):
            self._meshes.pop(name)[1].remove()
            self.bodies.pop(name, None)
        for item in shown.objects:
            wanted = self._source(shown, item.name, item.mesh, index)
            have = self._meshes.get(item.name)
            if have is None or have[0] != wanted:
                if have is not None:
                    have[1].remove()
                handle = self._add(shown, item.name, item.mesh, index, item.role == "foreground")
                self._meshes[item.name] = (wanted, handle)
            handle = self._meshes[item.name][1]
            handle.visible = shown.visible[item.name][index]
            if item.name in shown.poses and item.name not in shown.surfaces:
                self._place(handle, shown.poses[item.name][index])

    def _source(self, shown: Shown, name: str, mesh: str, index: int) -> object:
        """What a mesh on the page was made of: equal ones need not be sent again."""
        if name in shown.surfaces:
            surface = shown.surfaces[name]
            return (id(surface), min(index, len(surface.points_m) - 1))
        session = self._desk.session
        assert session is not None and (session.stage is not None or name in shown.poses)
        return (str(session.mesh_folder()), mesh)

    def _add(self, shown: Shown, name: str, mesh: str, index: int, foreground: bool) -> Any:
        if name in shown.surfaces:
            made = surface_mesh(shown.surfaces[name], index, MOST_FACES)
            self.bodies[name] = Body.of(thinned(made, BODY_FACES), foreground)
        else:
            session = self._desk.session
            assert session is not None
            path = session.mesh_folder() / mesh
            if path.suffix.lower() == ".fbx":  # Blender's answer brings its surface
                return self._scene.add_frame(f"/objects/{name}", show_axes=False)
            made = page_mesh(path, MOST_FACES)
            self.bodies[name] = Body.of(thinned(made, BODY_FACES), foreground)
        return self._scene.add_mesh_trimesh(f"/objects/{name}", made, cast_shadow=False, receive_shadow=False)

    def _place(self, handle: Any, pose: Array) -> None:
        """Puts a node at a pose (4, 4): rotation and scale along its axes, without shear, which viser has not."""
        scale = np.linalg.norm(pose[:3, :3], axis=0)
        handle.position, handle.wxyz = pose[:3, 3], wxyz(pose[:3, :3] / scale)
        if hasattr(handle, "scale"):
            handle.scale = tuple(float(value) for value in scale)

    # ------------------------------------------------------------ cameras
    def _frustum(self, name: str, view: View, shown: Shown, size_m: float, **look: Any) -> Any:
        width, height = shown.size
        return self._scene.add_camera_frustum(
            name,
            fov=2 * float(np.arctan(height / 2 / view.focal_px)),
            aspect=width / height,
            scale=size_m,
            wxyz=wxyz(view.c2w[:3, :3]),
            position=view.c2w[:3, 3],
            thickness=2.0,
            thickness_units="screen",
            cast_shadow=False,
            receive_shadow=False,
            **look,
        )

    def reach_m(self, shown: Shown) -> float:
        """How far the object is from the first camera: sizes on the page go by it."""
        return float(np.linalg.norm(shown.views[0].c2w[:3, 3] - np.asarray(shown.pivot_m)))

    def _path(self, shown: Shown) -> None:
        self._scene.remove_by_name("/camera")
        size_m = 0.06 * self.reach_m(shown)
        places = np.stack([view.c2w[:3, 3] for view in shown.views])
        if len(places) > 1 and np.ptp(places, axis=0).max() > 1e-6:
            self._scene.add_line_segments(
                "/camera/path",
                np.stack([places[:-1], places[1:]], axis=1),
                PATH,
                thickness=2.0,
                thickness_units="screen",
            )
        session = self._desk.session
        keys = (session.scene.get("camera") or {}).get("keys", []) if session else []
        for key in keys:
            index = key["frame"] - shown.shot.start_frame
            if 0 <= index < len(shown.views):
                self._frustum(f"/camera/key{key['frame']}", shown.views[index], shown, size_m, color=KEY)
        if shown.photo_view is not None and session is not None and session.stage is not None:
            picture = Image.fromarray(session.stage.photo)
            picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            self._frustum(
                "/camera/photo", shown.photo_view, shown, 1.6 * size_m, color=PHOTO, image=np.asarray(picture)
            )

    def _camera(self, shown: Shown) -> None:
        size_m = 0.1 * self.reach_m(shown)
        handle = self._frustum("/camera/now", shown.views[self._desk.index], shown, size_m, color=ACCENT)
        handle.visible = not self.through
        photo = self._scene.get_handle_by_name("/camera/photo")
        if photo is not None:
            photo.visible = not self.through

    def look(self, client: viser.ClientHandle, view: View, shown: Shown) -> None:
        """Has a page look through a camera, all of whose frame is inside the page."""
        width, height = shown.size
        tall = height / 2 / view.focal_px * max(1.0, (width / height) / max(client.camera.aspect, 0.1))
        with client.atomic():
            client.camera.up_direction = -view.c2w[:3, 1]
            client.camera.position = view.c2w[:3, 3]
            client.camera.look_at = view.c2w[:3, 3] + view.c2w[:3, 2] * self.reach_m(shown)
            client.camera.fov = 2 * float(np.arctan(tall))

    def welcome(self, client: viser.ClientHandle) -> None:
        """Where a page that was opened looks from: behind the photo's camera, to its left."""
        shown = self._desk.shown
        if shown is None:
            return
        first, reach = shown.views[0].c2w, self.reach_m(shown)
        client.camera.up_direction = (0.0, 0.0, 1.0)
        client.camera.position = first[:3, 3] - reach * (
            0.75 * first[:3, 2] + 0.55 * first[:3, 0] + 0.5 * first[:3, 1]
        )
        client.camera.look_at = np.asarray(shown.pivot_m)
        client.camera.fov = np.radians(45)

    def tried(self, shown: Shown) -> None:
        """Shows a path that is not written, beside the one that is."""
        places = np.stack([view.c2w[:3, 3] for view in shown.views])
        if len(places) > 1:
            self._scene.add_line_segments(
                "/camera/tried",
                np.stack([places[:-1], places[1:]], axis=1),
                ACCENT,
                thickness=3.0,
                thickness_units="screen",
            )
            self._frustum("/camera/end", shown.views[-1], shown, 0.08 * self.reach_m(shown), color=ACCENT)

    # ------------------------------------------------------------ gizmo
    def hold(
        self, target: str, pose: Array, size_m: float, moved: Callable[[Array], None], turns: bool = True
    ) -> None:
        """Puts the gizmo at a pose (4, 4, a rotation). moved: called with a new one as it is dragged."""
        self.release()
        gizmo = self._scene.add_transform_controls(
            "/gizmo", scale=size_m, disable_rotations=not turns, position=pose[:3, 3], wxyz=wxyz(pose[:3, :3]),
            depth_test=False,
        )  # fmt: skip
        self.target, self._gizmo = target, gizmo

        @gizmo.on_update
        def _(_: object) -> None:
            w, x, y, z = gizmo.wxyz
            now = np.eye(4)
            now[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
            now[:3, 3] = gizmo.position
            self._desk.guarded(moved)(now)

    def release(self) -> None:
        """Takes the gizmo away."""
        if self._gizmo is not None:
            self._gizmo.remove()
        self.target, self._gizmo = None, None
