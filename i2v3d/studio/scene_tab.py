"""The page's start: which scene, a photo of one's own, and the mask, which clicks beside and on the object improve."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import viser
from PIL import Image, UnidentifiedImageError

from i2v3d.errors import ConfigError, InputError
from i2v3d.geometry.cameras import Array
from i2v3d.images import Rgb
from i2v3d.scene.photo.framing import PHOTO_SUFFIXES, load_photo
from i2v3d.scene.photo.grabcut import grabcut
from i2v3d.studio.desk import Desk, required, small
from i2v3d.studio.view3d import View3D
from i2v3d.studio.yaml_edit import Edit, KeyPath

LARGEST_UPLOAD = 60 * 2**20
MOST_PX = 100_000_000
FAR = np.array([0.0, 0.0, 1000.0])  # where the photo hangs while its mask is chosen: away from the scene
ON, BESIDE, BOX = "on the object", "beside it", "a box around it"


class SceneTab:
    """Choosing and making scenes. new: makes a scene as `i2v3d new` does, of a name, a file and a class name."""

    def __init__(self, desk: Desk, view: View3D, new: Any) -> None:
        self._desk, self._view, self._new = desk, view, new
        gui = desk.server.gui
        self._which = gui.add_dropdown("scene", tuple(desk.place.scenes()) or ("none",))
        self._about = gui.add_html("")
        with gui.add_folder("Start from a photo"):
            self._name = gui.add_text("scene name", "", hint="small letters, digits, _ and -")
            self._class = gui.add_text("what it is", "", hint="in a word, such as mug")
            photo = gui.add_upload_button("Choose a photo", icon=viser.Icon.UPLOAD, mime_type="image/*")
        with gui.add_folder("The object in the photo"):
            self._choose = gui.add_button("Choose on the photo", icon=viser.Icon.PHOTO, color="gray")
            self._tool = gui.add_button_group("", (ON, BESIDE, BOX), visible=False)
            self._keep = gui.add_button("Make the scene of this mask", visible=False)
            self._forget = gui.add_button("Start again", visible=False, color="gray")
            self._told = gui.add_html("")
            self._noun = gui.add_text("class", "")
            self._distance = gui.add_number("distance (m)", 2.0, min=0.01, max=1000.0, step=0.05)
            self._stance = gui.add_dropdown("stance", ("upright", "lying", "facing"))
            apply = gui.add_button("Apply class, distance and stance", color="gray")
        self._which.on_update(desk.guarded(lambda event: self._open(event.client)))
        photo.on_upload(desk.guarded(lambda _: self._uploaded(photo.value)))
        self._choose.on_click(desk.guarded(lambda event: self._begin()))
        self._keep.on_click(desk.guarded(lambda _: self._write()))
        self._forget.on_click(desk.guarded(lambda _: self._reset()))
        apply.on_click(desk.guarded(lambda _: self._apply()))
        self._photo: Rgb | None = None
        self._marks: dict[str, Any] = {}
        self._callbacks: list[Any] = []
        self._seen: object = None
        desk.listeners.append(self.update)

    # ------------------------------------------------------------ scenes
    def _open(self, client: object) -> None:
        if (
            client is not None
            and self._desk.session is not None
            and self._which.value != self._desk.session.name
        ):
            self._end()
            self._desk.open(str(self._which.value))

    def _uploaded(self, file: Any) -> None:
        """Makes a scene of an uploaded photo. Raises ConfigError and InputError as `i2v3d new`."""
        suffix = Path(str(file.name)).suffix.lower()
        if suffix not in PHOTO_SUFFIXES:
            raise InputError(
                f"{suffix or 'this'} is no photo that is taken here; expected {', '.join(PHOTO_SUFFIXES)}"
            )
        if len(file.content) > LARGEST_UPLOAD:
            raise InputError(
                f"the photo has {len(file.content) >> 20} MB; at most {LARGEST_UPLOAD >> 20} are taken"
            )
        with tempfile.TemporaryDirectory(prefix="i2v3d-") as folder:
            path = Path(folder) / f"photo{suffix}"
            path.write_bytes(file.content)
            _check_pixels(path)
            self._new(self._name.value.strip(), path, self._class.value.strip() or None)
        self._desk.place = self._desk.place.again()
        self._which.options = tuple(self._desk.place.scenes())
        self._desk.open(self._name.value.strip())
        self._desk.tell(
            "New scene", f"{self._name.value.strip()}: look at its mask, then at the scene", "green"
        )
        self._begin()

    def _apply(self) -> None:
        session = required(self._desk)
        scene = session.scene
        wanted: dict[KeyPath, Any] = {
            ("class_name",): self._noun.value.strip(),
            ("foreground", "distance_m"): float(self._distance.value),
            ("foreground", "stance"): self._stance.value,
        }
        now: dict[KeyPath, Any] = {("class_name",): scene["class_name"]}
        now |= {("foreground", key): scene["foreground"][key] for key in ("distance_m", "stance")}
        edits = [Edit(path, value) for path, value in wanted.items() if value != now[path]]
        if edits:
            session.edit(*edits)

    # ------------------------------------------------------------ the mask
    def _begin(self) -> None:
        """Hangs the photo up, and takes clicks on it."""
        session = required(self._desk)
        if self._photo is not None:
            self._end()
            self._desk.changed()
            return
        if session.scene["source"] != "photo":
            raise ConfigError("only scenes of a photo have a mask; this one brings its own foreground")
        if session.scene["segment"]["method"] == "words":
            raise ConfigError(
                "segment.method is words, which takes no clicks; set it to grabcut in the scene's file"
            )
        self._photo = load_photo(Path(session.scene["photo"])).rgb
        segment = session.scene["segment"]
        self._marks = {key: segment[key] for key in ("box", "points", "background_points")}
        scene = self._desk.server.scene
        self._callbacks = [scene.on_click()(lambda event: self._desk.guarded(self._clicked)(event))]
        self._tool.visible = self._keep.visible = self._forget.visible = True
        self._choose.label = "Back to the scene"
        for client in self._desk.server.get_clients().values():
            client.camera.up_direction = (0.0, 1.0, 0.0)
            client.camera.position = FAR + np.array([0.0, 0.0, 1.35])
            client.camera.look_at = FAR
        self._hang()

    def _clicked(self, event: viser.SceneClickEvent) -> None:
        where = on_photo(np.array(event.ray_origin), np.array(event.ray_direction), self._aspect())
        if where is None:
            return
        point = [round(value, 4) for value in where]
        tool = self._tool.value
        if tool == BOX:
            corner = self._marks.pop("corner", None)
            if corner is None:
                self._marks["corner"] = point
                self._told.content = small("now the opposite corner")
                return
            (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(corner, point, strict=True))
            self._marks["box"] = [x0, y0, x1, y1]
        else:
            key = "points" if tool == ON else "background_points"
            self._marks[key] = [*self._marks[key], point]
        self._hang()

    def _hang(self) -> None:
        """Shows the photo with the mask that the marks give."""
        assert self._photo is not None
        session = required(self._desk)
        mask = grabcut(
            self._photo, self._marks["box"], session.scene["segment"]["iterations"],
            self._marks["points"], self._marks["background_points"],
        )  # fmt: skip
        shown = np.where(mask[..., None], self._photo, (self._photo * 0.35 + 30).astype(np.uint8))
        height, width = shown.shape[:2]
        for key, colour in (("points", (90, 220, 120)), ("background_points", (250, 90, 90))):
            for x, y in self._marks[key]:
                disc(shown, x * width, y * height, colour)
        self._desk.server.scene.add_image(
            "/photo", shown, self._aspect(), 1.0, position=FAR, cast_shadow=False, receive_shadow=False,
            wxyz=(0.0, 1.0, 0.0, 0.0),
        )  # fmt: skip
        self._told.content = small(f"the object covers {mask.mean():.0%} of the photo")

    def _aspect(self) -> float:
        assert self._photo is not None
        return self._photo.shape[1] / self._photo.shape[0]

    def _reset(self) -> None:
        self._marks = {"box": None, "points": [], "background_points": []}
        self._hang()

    def _write(self) -> None:
        session = required(self._desk)
        segment = session.scene["segment"]
        keys = ("box", "points", "background_points")
        edits = [Edit(("segment", key), self._marks[key]) for key in keys if self._marks[key] != segment[key]]
        if session.scene["mask"] is not None:
            edits.append(Edit(("mask",), None))
        self._end()
        if edits:
            session.edit(*edits)

    def _end(self) -> None:
        """Takes the photo down."""
        if self._photo is None:
            return
        self._photo = None
        scene = self._desk.server.scene
        for callback in self._callbacks:
            scene.remove_click_callback(callback)
        self._callbacks = []
        scene.remove_by_name("/photo")
        self._tool.visible = self._keep.visible = self._forget.visible = False
        self._choose.label = "Choose on the photo"
        for client in self._desk.server.get_clients().values():
            self._view.welcome(client)

    def update(self) -> None:
        """Shows which scene is open and what it is."""
        session = self._desk.session
        if session is None or session.shown is None or self._seen is session.shown:
            return
        self._seen = session.shown
        self._which.value = session.name
        scene = session.scene
        size = f"{scene['width']} x {scene['height']}"
        self._about.content = small(
            f"{scene['source']} · {size} · {scene['frames']} frames, {scene['fps']} a second"
        )
        if scene["source"] == "photo":
            self._noun.value = scene["class_name"]
            self._distance.value = float(scene["foreground"]["distance_m"])
            self._stance.value = scene["foreground"]["stance"]


def _check_pixels(path: Path) -> None:
    """Raises InputError for a picture that unpacks to more than the memory should hold, before it does."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"the photo cannot be read ({error}); save it as PNG or JPEG again") from error
    if width * height > MOST_PX:
        raise InputError(
            f"the photo has {width} x {height} pixels; expected at most {MOST_PX / 1e6:.0f} million"
        )


def on_photo(origin: Array, direction: Array, aspect: float) -> tuple[float, float] | None:
    """Where a ray meets the photo that hangs at `FAR`, 1 m tall: fractions from its left and top; None beside it."""
    if abs(direction[2]) < 1e-9:
        return None
    at = origin + (FAR[2] - origin[2]) / direction[2] * direction
    x, y = at[0] / aspect + 0.5, 0.5 - at[1]
    return (float(x), float(y)) if 0 <= x <= 1 and 0 <= y <= 1 else None


def disc(picture: Rgb, x: float, y: float, colour: tuple[int, int, int]) -> None:
    """Draws a mark into a picture."""
    radius = max(3, round(0.012 * max(picture.shape[:2])))
    cv2.circle(picture, (round(x), round(y)), radius, colour, -1, cv2.LINE_AA)
    cv2.circle(picture, (round(x), round(y)), radius, (255, 255, 255), max(1, radius // 4), cv2.LINE_AA)
