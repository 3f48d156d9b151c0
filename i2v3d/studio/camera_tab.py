"""The page's camera: keys from views and by gizmo, and recipes with sliders."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import viser
from scipy.spatial.transform import Rotation

from i2v3d.config.control import Easing
from i2v3d.errors import ConfigError
from i2v3d.geometry.cameras import Array
from i2v3d.studio.camera_edits import RECIPES, key_edits, key_gone, recipe_edits
from i2v3d.studio.desk import SETTLED_S, Desk, required, small
from i2v3d.studio.errand import Settling
from i2v3d.studio.shown import with_view
from i2v3d.studio.view3d import View3D
from i2v3d.studio.yaml_edit import Edit

EASINGS = ("BEZIER", "LINEAR", *(name for name in get_args(Easing) if name not in ("BEZIER", "LINEAR")))
CAMERA = "/camera"  # as what the gizmo moves: no object's name


class CameraTab:
    """Keys and recipes."""

    def __init__(self, desk: Desk, view: View3D) -> None:
        self._desk, self._view = desk, view
        gui = desk.server.gui
        gui.add_markdown("**Keys.** Look around, then:")
        key = gui.add_button("Key from this view", icon=viser.Icon.CAMERA_PLUS)
        self._easing = gui.add_dropdown("to the next key", EASINGS)
        self._moves_go = gui.add_checkbox(
            "keys replace moves", True, hint="moves and shake come on top of keys"
        )
        drag = gui.add_button("Drag the camera at this frame", icon=viser.Icon.ARROWS_MOVE, color="gray")
        gone = gui.add_button("Delete the key of this frame", icon=viser.Icon.TRASH, color="gray")
        key.on_click(desk.guarded(lambda event: self._key_from(event.client)))
        drag.on_click(desk.guarded(lambda _: self._drag()))
        gone.on_click(desk.guarded(lambda _: self._delete()))
        with gui.add_folder("Cookbook"):
            self._kind = gui.add_dropdown("recipe", tuple(RECIPES))
            self._what = gui.add_html("")
            self._amount = gui.add_slider("amount", -45.0, 45.0, 0.5, 12.0)
            self._span = gui.add_multi_slider("frames", 1, 2, 1, (1, 2))
            self._ease = gui.add_dropdown("course", EASINGS)
            add = gui.add_button("Add to the shot", icon=viser.Icon.PLUS)
            self._list = gui.add_dropdown("moves", ("none",))
            remove = gui.add_button("Remove that move", icon=viser.Icon.TRASH, color="gray")
        self._kind.on_update(lambda _: self._chosen())
        for handle in (self._amount, self._span, self._ease):
            handle.on_update(desk.guarded(lambda _: self._try()))
        add.on_click(desk.guarded(lambda _: self._add()))
        remove.on_click(desk.guarded(lambda _: self._remove()))
        self._length = 0
        self._trying = Settling(SETTLED_S)
        view.on_key = self._grab
        desk.listeners.append(self.update)
        desk.followers.append(self._follow)

    # ------------------------------------------------------------ keys
    def _camera(self) -> dict[str, Any]:
        """The scene's section. Raises ConfigError for a scene whose camera the YAML does not have."""
        found: dict[str, Any] = required(self._desk).scene.get("camera") or {}
        if not found:
            raise ConfigError(
                "this scene's camera comes with it; key it in its own program, or make a scene of a photo"
            )
        return found

    def _key_from(self, client: viser.ClientHandle | None) -> None:
        if client is None:
            return
        pose = np.eye(4)
        w, x, y, z = client.camera.wxyz
        pose[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
        pose[:3, 3] = client.camera.position
        self._key(pose, self._desk.frame)
        self._desk.tell("Key", f"frame {self._desk.frame} is seen from here", "green")

    def _key(self, pose: Array, frame: int) -> None:
        camera, session = self._camera(), required(self._desk)
        old = next((key for key in camera["keys"] if key["frame"] == frame), None)
        edits = key_edits(
            frame,
            pose,
            old["fov_deg"] if old else None,
            self._easing.value,
            camera,
            self._moves_go.value,
        )
        session.edit(*edits)

    def _delete(self) -> None:
        self._view.gizmo.release()
        required(self._desk).edit(*key_gone(("camera", "keys"), self._camera()["keys"], self._desk.frame))

    def _drag(self) -> None:
        shown = self._desk.shown
        if shown is None:
            return
        if self._view.gizmo.target == CAMERA:
            self._view.gizmo.release()
            return
        self._camera()
        pose, size_m = shown.views[self._desk.index].c2w, 0.25 * self._view.reach_m(shown)
        self._view.gizmo.hold(CAMERA, pose, size_m, self._dragged, scales=False)

    def _grab(self, index: int) -> None:
        """Has the gizmo at a key whose frustum was clicked."""
        self._desk.moved(index)
        if self._view.gizmo.target != CAMERA:
            self._drag()

    def _dragged(self, pose: Array, factor: float) -> None:
        session, frame = required(self._desk), self._desk.frame
        if session.shown is not None:
            self._desk.drafted(with_view(session.shown, self._desk.index, pose))
            if not self._view.gizmo.dragged:  # a drag is one edit, however long it is held
                self._desk.settled(lambda: self._key(pose, frame))

    # ------------------------------------------------------------ recipes
    def _chosen(self) -> None:
        shown = self._desk.shown
        slider = RECIPES[self._kind.value]
        scale = self._view.reach_m(shown) if shown and slider.unit == "metres" else 1.0
        self._amount.min, self._amount.max = slider.low * scale, slider.high * scale
        self._amount.step = slider.step * scale
        self._amount.value = slider.first * scale
        self._what.content = small(f"{slider.label}, {slider.unit}")

    def _edits(self) -> list[Edit]:
        shown = self._desk.shown
        assert shown is not None
        first, last = (int(value) for value in self._span.value)
        return recipe_edits(
            self._kind.value, float(self._amount.value), first, max(last, first + 1), self._ease.value,
            self._view.reach_m(shown), self._camera()["moves"],
        )  # fmt: skip

    def _try(self) -> None:
        """Shows the path as it would be, until it is added or something else changes."""
        session = self._desk.session
        if session is None or self._desk.shown is None or session.scene["source"] != "photo":
            return
        self._trying.then(self._desk.guarded(lambda: self._view.tried(session.tried(self._edits()))))

    def _add(self) -> None:
        required(self._desk).edit(*self._edits())

    def _remove(self) -> None:
        camera, chosen = self._camera(), str(self._list.value)
        if chosen == "handheld":
            required(self._desk).edit(Edit(("camera", "handheld"), None))
        elif chosen != "none" and camera["moves"]:
            required(self._desk).edit(
                Edit(("camera", "moves", int(chosen.split(".")[0]) - 1), None, "delete")
            )

    def _follow(self) -> None:
        """Has the gizmo where the camera is at the frame."""
        shown = self._desk.shown
        if shown is not None and self._view.gizmo.target == CAMERA and self._desk.draft is None:
            self._view.gizmo.place(shown.views[self._desk.index].c2w)

    def update(self) -> None:
        """Shows what moves there are."""
        self._follow()
        shown, session = self._desk.shown, self._desk.session
        if shown is None or session is None:
            return
        camera = session.scene.get("camera") or {}
        told = [
            f"{n}. {m['kind']} {m['amount']:.3g}, {m['start_frame']} to {m['end_frame']}"
            for n, m in enumerate(camera.get("moves", []), start=1)
        ] + (["handheld"] if camera.get("handheld") else [])
        options = tuple(told) or ("none",)
        if tuple(self._list.options) != options:
            self._list.options = options
        if self._length != shown.shot.last_frame:
            self._length = shown.shot.last_frame
            self._span.min, self._span.max = (
                shown.shot.start_frame,
                max(self._length, shown.shot.start_frame + 1),
            )
            self._span.value = (self._span.min, self._span.max)
            self._chosen()
