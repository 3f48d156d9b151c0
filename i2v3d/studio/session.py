"""One scene as it is edited: its file, what Hydra makes of it, and what the page shows of that."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from i2v3d.config.scene import BlendSceneConfig, PhotoSceneConfig, SceneConfig, ToySceneConfig
from i2v3d.config.sections import build
from i2v3d.errors import ConfigError, I2V3DError
from i2v3d.scene.from_photo import check_photo
from i2v3d.studio.document import SceneDocument
from i2v3d.studio.place import Place
from i2v3d.studio.shown import (
    Shown,
    Stage,
    asked_blender,
    build_stage,
    show_blend,
    show_photo,
    show_toy,
    stage_config,
)
from i2v3d.studio.yaml_edit import Edit, applied
from i2v3d.workflow.composition import compose_variants

log = logging.getLogger(__name__)
COMPOSING = threading.Lock()  # Hydra's state is the process's, and clicks come in threads of their own


class Session:
    """The scene `name`. words: further Hydra words, of every run that the page starts.

    changed: called, from any thread, after `shown` is another one.
    """

    def __init__(self, place: Place, name: str, words: Sequence[str], changed: Callable[[], None]) -> None:
        """Raises ConfigError for a scene that does not exist or cannot be composed."""
        self.place, self.name, self.words, self._changed = place, name, tuple(words), changed
        self._lock = threading.RLock()
        self._folder = Path(tempfile.mkdtemp(prefix="i2v3d-studio-"))
        self._stages: dict[str, Stage] = {}
        self._toy = self._folder
        self._number, self._closed = 0, False
        self.document = SceneDocument(place.editable(name), name, place.own / f"{name}.lock")
        self.place = place.again()  # a scene that was copied counts from now on
        self.config: dict[str, Any] = {}
        self.shown: Shown | None = None
        self.stage: Stage | None = None
        self._compose()

    def close(self) -> None:
        """Removes what was made to be shown."""
        self._closed = True
        shutil.rmtree(self._folder, ignore_errors=True)

    # ------------------------------------------------------------ what it is
    @property
    def scene(self) -> dict[str, Any]:
        """The composed section `scene`, plain data."""
        found: dict[str, Any] = self.config["scene"]
        return found

    @property
    def cfg(self) -> SceneConfig:
        return self._built(self.scene)

    @staticmethod
    def _built(scene: Mapping[str, Any]) -> SceneConfig:
        types: dict[str, type[SceneConfig]] = {
            "photo": PhotoSceneConfig, "toy": ToySceneConfig, "blend": BlendSceneConfig,
        }  # fmt: skip
        source = str(scene.get("source"))
        if source not in types:
            raise ConfigError(f"scene.source is {source!r}; expected one of {', '.join(types)}")
        return build(types[source], dict(scene), "scene")

    def mesh_folder(self) -> Path:
        """Where the meshes lie that `shown` names."""
        return self.stage.folder if self.stage is not None else self._toy

    def all_words(self) -> list[str]:
        """What a run of this scene is told."""
        return [f"scene={self.name}", *self.words]

    def tell_words(self, words: Sequence[str]) -> None:
        """Takes other words. Raises ConfigError, the old ones kept, for words that Hydra refuses."""
        with self._lock:
            before, self.words = self.words, tuple(words)
            try:
                self._compose()
            except I2V3DError:
                self.words = before
                raise
        self.show()

    def _compose(self) -> None:
        with COMPOSING:
            (variant,) = compose_variants(self.place.conf, self.all_words())
        self._built(variant.config["scene"])
        self.config = variant.config

    # ------------------------------------------------------------ showing
    def show(self) -> None:
        """Makes `shown` of the present file: meshes only if an option changed that decides them. Raises I2V3DError."""
        with self._lock:
            self.shown = self._show(self.scene)
        self._changed()

    def _show(self, scene: Mapping[str, Any]) -> Shown:
        cfg = self._built(scene)
        if isinstance(cfg, PhotoSceneConfig):
            self.stage = self._stage_of(cfg, scene)
            return show_photo(cfg, self.stage, self.stage.folder)
        self._number += 1
        if isinstance(cfg, ToySceneConfig):
            self._toy = self._folder / f"toy{self._number}"
            self._toy.mkdir()
            return show_toy(cfg, self._toy)
        assert isinstance(cfg, BlendSceneConfig), cfg.source
        return show_blend(cfg)

    def _stage_of(self, cfg: PhotoSceneConfig, scene: Mapping[str, Any]) -> Stage:
        key = hashlib.sha256(json.dumps(stage_config(scene), sort_keys=True).encode()).hexdigest()[:12]
        if key not in self._stages:
            check_photo(cfg)
            self._number += 1
            folder, work = self._folder / f"{key}-{self._number}", self._folder / f"work{self._number}"
            folder.mkdir()
            work.mkdir()
            self._stages[key] = build_stage(cfg, folder, work)
        return self._stages[key]

    def tried(self, edits: Sequence[Edit]) -> Shown:
        """What edits would show; nothing is written. Raises ConfigError for values that the scene cannot have."""
        with self._lock:
            return self._show(_after(self.scene, edits))

    def asked(self) -> None:
        """Has Blender say where objects are, if curves between keys are only near. Slow; a later edit wins."""
        with self._lock:
            before, cfg, stage = self.shown, self.cfg, self.stage
        if before is None or before.exact or stage is None:
            return
        try:
            exact = asked_blender(cfg, before, stage.folder)
        except I2V3DError:
            if self._closed:
                return  # its meshes went while Blender read them
            raise
        with self._lock:
            if self.shown is not before:
                return
            self.shown = exact
        self._changed()

    # ------------------------------------------------------------ editing
    def edit(self, *edits: Edit) -> None:
        """Writes edits and shows them. Raises ConfigError or InputError, the file as it was, for what cannot be."""
        with self._lock:
            after = self._show(_after(self.scene, edits))
            self.document.edit(edits, self.scene, self._compose)
            self.shown = after
        self._changed()

    def undo(self) -> None:
        """Takes the last edit back. Raises ConfigError as `SceneDocument.undo`."""
        self._step(self.document.undo)

    def redo(self) -> None:
        """Makes it again."""
        self._step(self.document.redo)

    def reload(self) -> None:
        """Takes over what somebody else wrote. Raises I2V3DError for a file that cannot be used."""
        with self._lock:
            self.document.reload()
            self._compose()
        self.show()

    def _step(self, step: Callable[[Callable[[], None]], None]) -> None:
        with self._lock:
            before = self.config
            try:
                step(self._recompose)
            except I2V3DError:
                self.config = before
                raise
        self._changed()

    def _recompose(self) -> None:
        self._compose()
        self.shown = self._show(self.scene)


def _after(scene: Mapping[str, Any], edits: Sequence[Edit]) -> dict[str, Any]:
    found: Any = dict(scene)
    for edit in edits:
        found = applied(found, edit)
    assert isinstance(found, dict)
    return found
