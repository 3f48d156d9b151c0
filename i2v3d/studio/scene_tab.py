"""The page's start: which scene, a photo of one's own, and the mask, which clicks beside and on the object improve."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import viser
from PIL import Image, UnidentifiedImageError

from i2v3d.errors import ConfigError, InputError
from i2v3d.scene.photo.framing import PHOTO_SUFFIXES
from i2v3d.studio.desk import Desk, required, small
from i2v3d.studio.mask_tool import MaskTool
from i2v3d.studio.session import COMPOSING
from i2v3d.studio.view3d import View3D
from i2v3d.studio.yaml_edit import Edit, KeyPath

LARGEST_UPLOAD = 60 * 2**20
MOST_PX = 100_000_000
# A file that is dropped here is chosen in the page's only field for files.
DROP = """<div data-drop style="margin:0 1em;padding:.5em;border:1px dashed #8888;border-radius:4px;text-align:center;
  font-size:.82em;opacity:.8" ondragover="event.preventDefault()" ondrop="event.preventDefault();
  const field = document.querySelector('input[type=file]');
  if (event.dataTransfer.files.length) { field.files = event.dataTransfer.files;
    field.dispatchEvent(new Event('change', {bubbles: true})) }">or drop it here</div>"""


class SceneTab:
    """Choosing and making scenes. new: makes a scene as `i2v3d new` does, of a name, a file and a class name. mask: the
    photo that is clicked on."""

    def __init__(self, desk: Desk, view: View3D, new: Any) -> None:
        self._desk, self._view, self._new = desk, view, new
        gui = desk.server.gui
        self._which = gui.add_dropdown("scene", tuple(desk.place.scenes()) or ("none",))
        self._about = gui.add_html("")
        with gui.add_folder("Start from a photo"):
            self._name = gui.add_text("scene name", "", hint="small letters, digits, _ and -")
            self._class = gui.add_text("what it is", "", hint="in a word, such as mug")
            photo = gui.add_upload_button("Choose a photo", icon=viser.Icon.UPLOAD, mime_type="image/*")
            gui.add_html(DROP)
        with gui.add_folder("The object in the photo"):
            self.mask = MaskTool(desk, view)
            self._noun = gui.add_text("class", "")
            self._distance = gui.add_number("distance (m)", 2.0, min=0.01, max=1000.0, step=0.05)
            self._stance = gui.add_dropdown("stance", ("upright", "lying", "facing"))
        with gui.add_folder("The shot"):
            self._size = gui.add_vector2("size (px)", (64, 64), min=(16, 16), step=8)
            self._frames = gui.add_number("frames", 8, min=2, step=1)
            self._fps = gui.add_number("frames a second", 8, min=1, step=1)
        apply = gui.add_button("Apply", hint="writes what you changed above into the scene's file")
        self._which.on_update(desk.guarded(lambda event: self._open(event.client)))
        photo.on_upload(desk.guarded(lambda _: self._uploaded(photo.value)))
        apply.on_click(desk.guarded(lambda _: self._apply()))
        self._seen: object = None
        desk.listeners.append(self.update)

    # ------------------------------------------------------------ scenes
    def _open(self, client: object) -> None:
        if (
            client is not None
            and self._desk.session is not None
            and self._which.value != self._desk.session.name
        ):
            self._desk.open(str(self._which.value))

    def _list(self) -> None:
        """Offers the scenes that there were when one was opened or loaded anew."""
        names = tuple(self._desk.place.scenes())
        if tuple(self._which.options) != names:
            self._which.options = names

    def _uploaded(self, file: Any) -> None:
        """Makes a scene of an uploaded photo. Raises ConfigError and InputError as `i2v3d new`."""
        with tempfile.TemporaryDirectory(prefix="i2v3d-") as folder:
            path = checked_upload(str(file.name), file.content, Path(folder))
            with COMPOSING:
                self._new(self._name.value.strip(), path, self._class.value.strip() or None)
        self._desk.open(self._name.value.strip())
        self._desk.tell(
            "New scene", f"{self._name.value.strip()}: look at its mask, then at the scene", "green"
        )
        self.mask.begin()

    def _apply(self) -> None:
        """Writes what was changed. Raises ConfigError for what a word of the options has the last say in."""
        session = required(self._desk)
        wanted, now = self._values(), shown_values(session.scene)
        edits = [Edit(path, value) for path, value in wanted.items() if path in now and value != now[path]]
        said = [word.split("=")[0] for word in session.words]
        for edit in edits:
            option = ".".join(("scene", *map(str, edit.path)))
            if option in said:
                raise ConfigError(
                    f"{option} stands among the options of the tab Run; take it out there first"
                )
        if edits:
            session.edit(*edits)

    def _values(self) -> dict[KeyPath, Any]:
        """What the fields say."""
        width, height = self._size.value
        return {
            ("class_name",): self._noun.value.strip(),
            ("foreground", "distance_m"): float(self._distance.value),
            ("foreground", "stance"): self._stance.value,
            ("width",): int(width),
            ("height",): int(height),
            ("frames",): int(self._frames.value),
            ("fps",): int(self._fps.value),
        }

    def update(self) -> None:
        """Shows which scene is open and what it is."""
        session = self._desk.session
        if session is None or session.shown is None or self._seen is session.shown:
            return
        self._seen = session.shown
        self._list()
        self._which.value = session.name
        scene = session.scene
        size = f"{scene['width']} x {scene['height']}"
        self._about.content = small(
            f"{scene['source']} · {size} · {scene['frames']} frames, {scene['fps']} a second"
        )
        self._size.value = (float(scene["width"]), float(scene["height"]))
        self._frames.value, self._fps.value = int(scene["frames"]), int(scene["fps"])
        if scene["source"] == "photo":
            self._noun.value = scene["class_name"]
            self._distance.value = float(scene["foreground"]["distance_m"])
            self._stance.value = scene["foreground"]["stance"]


def shown_values(scene: Mapping[str, Any]) -> dict[KeyPath, Any]:
    """The options of a composed section `scene` that this part of the page has fields for."""
    found: dict[KeyPath, Any] = {(key,): scene[key] for key in ("width", "height", "frames", "fps")}
    if scene["source"] == "photo":
        found[("class_name",)] = scene["class_name"]
        found |= {("foreground", key): scene["foreground"][key] for key in ("distance_m", "stance")}
    return found


def checked_upload(name: str, content: bytes, folder: Path) -> Path:
    """Writes an uploaded photo into a folder, under a name of its own. Raises InputError for what is no photo, or is
    too large; `i2v3d new` checks the rest."""
    suffix = Path(name).suffix.lower()
    if suffix not in PHOTO_SUFFIXES:
        raise InputError(
            f"{suffix or 'this'} is no photo that is taken here; expected {', '.join(PHOTO_SUFFIXES)}"
        )
    if len(content) > LARGEST_UPLOAD:
        raise InputError(f"the photo has {len(content) >> 20} MB; at most {LARGEST_UPLOAD >> 20} are taken")
    path = folder / f"photo{suffix}"
    path.write_bytes(content)
    _check_pixels(path)
    return path


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
