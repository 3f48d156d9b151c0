"""The page's objects: keys by gizmo and by numbers, actions of skeletons, and which of a .blend are the foreground."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, get_args

import numpy as np
import viser
from scipy.spatial.transform import Rotation

from i2v3d.artifacts.scene_spec import ObjectSpec
from i2v3d.blender.api import inspect_mesh
from i2v3d.config.control import Interpolation
from i2v3d.errors import ConfigError
from i2v3d.geometry.cameras import Array
from i2v3d.studio.camera_edits import key_edit, key_gone
from i2v3d.studio.desk import Desk, required
from i2v3d.studio.key_curves import channels, pivot_pose
from i2v3d.studio.shown import with_pose
from i2v3d.studio.view3d import View3D
from i2v3d.studio.yaml_edit import Edit, KeyPath

NONE = "none"
MODES = ("BEZIER", "LINEAR", *(name for name in get_args(Interpolation) if name not in ("BEZIER", "LINEAR")))


class ObjectTab:
    """One object at a time."""

    def __init__(self, desk: Desk, view: View3D) -> None:
        self._desk, self._view, self._quiet = desk, view, False
        gui = desk.server.gui
        self._name = gui.add_dropdown("object", (NONE,))
        self._move = gui.add_vector3("moved (m)", (0.0, 0.0, 0.0), step=0.005)
        self._turn = gui.add_vector3("turned (°)", (0.0, 0.0, 0.0), step=0.5)
        self._size = gui.add_vector3("scaled", (1.0, 1.0, 1.0), step=0.01)
        self._mode = gui.add_dropdown("to the next key", MODES)
        key = gui.add_button("Key these values here", icon=viser.Icon.KEY)
        drag = gui.add_button("Drag it at this frame", icon=viser.Icon.ARROWS_MOVE, color="gray")
        gone = gui.add_button("Delete the key of this frame", icon=viser.Icon.TRASH, color="gray")
        with gui.add_folder("Skeleton"):
            self._action = gui.add_dropdown("action", (NONE,))
            self._start = gui.add_number("from frame", 1, min=1, step=1)
            self._speed = gui.add_number("speed", 1.0, min=0.05, max=20.0, step=0.05)
            self._repeat = gui.add_number("times", 1.0, min=0.05, max=1000.0, step=0.5)
            play = gui.add_button("Play it", icon=viser.Icon.RUN, color="gray")
            still = gui.add_button("Remove its actions", icon=viser.Icon.TRASH, color="gray")
        self._folder = gui.add_folder("Foreground of the .blend", visible=False)
        self._roles: dict[str, Any] = {}
        self._held = np.ones(3)  # the scale that the gizmo's factor is of
        self._name.on_update(desk.guarded(lambda _: self._chosen()))
        key.on_click(desk.guarded(lambda _: self._key_numbers()))
        drag.on_click(desk.guarded(lambda _: self._drag()))
        gone.on_click(desk.guarded(lambda _: self._delete()))
        play.on_click(desk.guarded(lambda _: self._play()))
        still.on_click(desk.guarded(lambda _: self._still()))
        desk.listeners.append(self.update)
        desk.followers.append(self.update)

    def _list(self, name: str) -> tuple[KeyPath, list[Any]]:
        """Where an object's keys stand, and they. Raises ConfigError for one that has none in the YAML."""
        session = required(self._desk)
        if session.scene["source"] != "photo" or name in (NONE, "background"):
            raise ConfigError(
                f"{name} has no keys here: only a photo's foreground and the objects added to it move"
            )
        for number, item in enumerate(session.scene["objects"]):
            if item["name"] == name:
                return ("objects", number, "keys"), item["keys"]
        return ("keys",), session.scene["keys"]

    def _key_numbers(self) -> None:
        self._key(
            str(self._name.value), self._desk.frame, self._move.value, self._turn.value, self._size.value
        )

    def _key(self, name: str, frame: int, move: Any, turn: Any, size: Any) -> None:
        option, keys = self._list(name)
        value = {
            "frame": frame,
            "translation_m": [float(v) for v in move],
            "rotation_deg": [float(v) for v in turn],
            "scale": [float(v) for v in size],
            "interpolation": self._mode.value,
        }
        required(self._desk).edit(*key_edit(option, keys, value))

    def _delete(self) -> None:
        self._view.gizmo.release()
        option, keys = self._list(str(self._name.value))
        required(self._desk).edit(*key_gone(option, keys, self._desk.frame))

    def _item(self) -> Any:
        shown = self._desk.shown
        return (
            next((item for item in shown.objects if item.name == self._name.value), None) if shown else None
        )

    def _drag(self) -> None:
        if self._view.gizmo.target == self._name.value:
            self._view.gizmo.release()
            return
        self._list(str(self._name.value))
        shown, item = self._desk.shown, self._item()
        assert shown is not None and item is not None
        self._held = channels(item.keys, self._desk.frame)[6:9]
        self._view.gizmo.hold(
            item.name, self._upright(item), 0.3 * self._view.reach_m(shown), self._dragged, scales=True
        )

    def _upright(self, item: ObjectSpec) -> Array:
        """Where the gizmo is: the pivot's pose without its scale."""
        pose = pivot_pose(item, self._desk.frame)
        pose[:3, :3] /= np.linalg.norm(pose[:3, :3], axis=0)
        return pose

    def _dragged(self, pose: Array, factor: float) -> None:
        session, item, frame = required(self._desk), self._item(), self._desk.frame
        if item is None or session.shown is None:
            return
        now = channels(item.keys, frame)
        move = pose[:3, 3] - np.asarray(item.pivot_m)
        turn = nearest_euler_deg(pose[:3, :3], now[3:6])
        size = self._held * factor
        scaled = pose.copy()
        scaled[:3, :3] *= size
        self._desk.drafted(with_pose(session.shown, item, self._desk.index, scaled))
        if not self._view.gizmo.dragged:  # a drag is one edit, however long it is held
            self._desk.settled(lambda: self._key(item.name, frame, move, turn, size))

    # ------------------------------------------------------------ skeletons
    def _chosen(self) -> None:
        self._view.gizmo.release()
        self.update()
        item, session = self._item(), self._desk.session
        self._action.options = (NONE,)
        if item is None or session is None or not item.mesh.lower().endswith((".glb", ".gltf", ".fbx")):
            return
        if session.scene["source"] == "photo" and item.name not in ("foreground", "background"):
            path, most = session.mesh_folder() / item.mesh, int(session.scene["max_faces"])
            inspect = self._desk.guarded(self._inspect)
            threading.Thread(target=inspect, args=(item.name, path, most), daemon=True).start()

    def _inspect(self, name: str, path: Path, most: int) -> None:
        found = tuple(inspect_mesh(path, max_faces=most).actions)
        if self._name.value == name:  # nobody has chosen another one meanwhile
            self._action.options = found or (NONE,)

    def _play(self) -> None:
        session, name = required(self._desk), self._name.value
        if self._action.value == NONE:
            raise ConfigError(f"{name} has no action; choose an object with a skeleton")
        value = {
            "object": name,
            "action": self._action.value,
            "start_frame": int(self._start.value),
            "speed": float(self._speed.value),
            "repeat": float(self._repeat.value),
        }
        actions = session.scene["actions"]
        same = [
            n
            for n, a in enumerate(actions)
            if a["object"] == name and a["start_frame"] == value["start_frame"]
        ]
        if same:
            session.edit(Edit(("actions", same[0]), value))
            return
        later = [
            n
            for n, a in enumerate(actions)
            if a["object"] == name and a["start_frame"] > value["start_frame"]
        ]
        session.edit(Edit(("actions", later[0] if later else len(actions)), value, "insert"))

    def _still(self) -> None:
        session = required(self._desk)
        own = [n for n, action in enumerate(session.scene["actions"]) if action["object"] == self._name.value]
        session.edit(*(Edit(("actions", n), None, "delete") for n in reversed(own)))

    # ------------------------------------------------------------ showing
    def update(self) -> None:
        """Shows the objects, and the chosen one's values at the frame."""
        shown, session = self._desk.shown, self._desk.session
        if shown is None or session is None:
            return
        names = tuple(sorted(shown.names(), key=lambda name: name == "background")) or (NONE,)
        if tuple(self._name.options) != names:
            self._name.options = names
        item = self._item()
        if item is not None:
            now = channels(item.keys, self._desk.frame)
            if self._desk.draft is None and not self._view.gizmo.dragged:
                self._held = now[6:9]
                if self._view.gizmo.target == item.name:
                    self._view.gizmo.place(self._upright(item))
            for handle, part in ((self._move, now[:3]), (self._turn, now[3:6]), (self._size, now[6:9])):
                handle.value = tuple(round(float(value), 4) for value in part)
        self._update_roles(session.scene["source"] == "blend")

    def _update_roles(self, blend: bool) -> None:
        shown = self._desk.shown
        self._folder.visible = blend
        if not blend or shown is None:
            return
        wanted = {item.name: item.role == "foreground" for item in shown.objects}
        for name in set(self._roles) - set(wanted):
            self._roles.pop(name).remove()
        for name, foreground in wanted.items():
            if name not in self._roles:
                with self._folder:
                    box = self._desk.server.gui.add_checkbox(name, foreground)
                box.on_update(self._desk.guarded(lambda event: self._picked(event.client)))
                self._roles[name] = box
            self._roles[name].value = foreground

    def _picked(self, client: object) -> None:
        """Writes the ticked objects as the foreground; what the program ticks itself has no client."""
        if client is not None:
            chosen = [name for name, box in self._roles.items() if box.value]
            required(self._desk).edit(Edit(("foreground",), chosen))


def nearest_euler_deg(turn: Array, before_deg: Array) -> Array:
    """XYZ Euler angles of a rotation (3, 3): of all that mean it, those nearest to what they were."""
    first = Rotation.from_matrix(turn).as_euler("xyz", degrees=True)
    other = np.array([first[0] + 180, 180 - first[1], first[2] + 180])
    found = [one + 360 * np.round((before_deg - one) / 360) for one in (first, other)]
    best: Array = min(found, key=lambda one: float(np.abs(one - before_deg).sum()))
    return best
