"""The scene in 3D: meshes, ground, the photo's camera, and the camera's path with a frustum a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import viser
from PIL import Image

from i2v3d.scene.motion.camera_path import View
from i2v3d.studio.bodies import Bodies
from i2v3d.studio.desk import Desk
from i2v3d.studio.gizmo import Gizmo, wxyz
from i2v3d.studio.shown import Shown

ACCENT, KEY, PATH, PHOTO = (255, 122, 26), (86, 156, 255), (150, 170, 200), (170, 170, 170)
THUMBNAIL_PX = 320
BESIDE = np.array(
    [1.0, 0.6, 1.2]
)  # where a page looks from: left, above and behind, in distances to the object


class View3D:
    """Keeps viser's scene like the desk's. on_key: called with the frame, counted from 0, of a key's frustum that was
    clicked."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._scene = desk, desk.server.scene
        self._scene.set_up_direction("+z")
        self._scene.configure_default_lights(cast_shadow=False)  # what is shown has its light in its colours
        self.bodies, self.gizmo = Bodies(desk), Gizmo(desk)
        self.on_key: Callable[[int], None] = lambda index: None
        self.through = False  # whether pages look through the shot's camera
        self._static: object = None
        self._now: Any = None
        self._photo: Any = None
        self._grid()

    def _grid(self) -> None:
        self._scene.add_grid(
            "/ground", width=20, height=20, plane="xy", cell_size=0.1, section_size=1.0,
            cell_color=(60, 64, 72), section_color=(88, 94, 106), position=(0.0, 2.0, -0.002),
        )  # fmt: skip

    # ------------------------------------------------------------ everything
    def update(self) -> None:
        """Shows the desk's scene at its frame."""
        shown, session = self._desk.shown, self._desk.session
        if shown is None or session is None or session.shown is None:
            return
        index = min(self._desk.index, len(shown.views) - 1)
        with self._desk.server.atomic():
            if session.shown is not self._static:
                self._static = session.shown
                self._path(session.shown)
            self.bodies.show(shown, index)
            self._camera(shown.views[index], shown)
        if self.through:
            for client in self._desk.server.get_clients().values():
                self.look(client, shown.views[index], shown)

    # ------------------------------------------------------------ cameras
    def _frustum(self, name: str, view: View, shown: Shown, size_m: float, **look: Any) -> Any:
        width, height = shown.size
        return self._scene.add_camera_frustum(
            name,
            fov=fov(view, shown),
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
        """Everything of the camera that only an edit changes."""
        self._scene.remove_by_name("/camera")
        size_m = 0.06 * self.reach_m(shown)
        self._now = self._frustum("/camera/now", shown.views[0], shown, size_m / 0.6, color=ACCENT)
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
                frustum = self._frustum(
                    f"/camera/key{key['frame']}", shown.views[index], shown, size_m, color=KEY
                )
                frustum.on_click(self._desk.guarded(lambda _, index=index: self.on_key(index)))
        self._photo = None
        if shown.photo_view is not None and session is not None and session.stage is not None:
            picture = Image.fromarray(session.stage.photo)
            picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            self._photo = self._frustum(
                "/camera/photo", shown.photo_view, shown, 1.6 * size_m, color=PHOTO, image=np.asarray(picture)
            )

    def _camera(self, view: View, shown: Shown) -> None:
        self._now.position, self._now.wxyz = view.c2w[:3, 3], wxyz(view.c2w[:3, :3])
        self._now.fov = fov(view, shown)
        for handle in (self._now, self._photo):
            if handle is not None:
                handle.visible = not self.through

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
        """Where a page that was opened looks from: from behind the first camera, above it and to its left, to halfway
        between it and the object, so that both are in view with what drags them."""
        shown = self._desk.shown
        if shown is None:
            return
        first, reach = shown.views[0].c2w, self.reach_m(shown)
        client.camera.up_direction = (0.0, 0.0, 1.0)
        between = (first[:3, 3] + np.asarray(shown.pivot_m)) / 2
        client.camera.position = between - reach * (first[:3, :3] @ BESIDE)
        client.camera.look_at = between
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


def fov(view: View, shown: Shown) -> float:
    """How high a camera sees, in radians."""
    return 2 * float(np.arctan(shown.size[1] / 2 / view.focal_px))
