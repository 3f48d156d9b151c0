"""What a reader of cameras is asked for, and what all of them refuse in the same words."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2v3d.errors import InputError

log = logging.getLogger(__name__)

Size = tuple[int, int]


def field_of_view(value: Any) -> float:
    """Degrees, from a file. Raises ValueError unless they are between 0 and 180."""
    degrees = float(value)
    if not 0 < degrees < 180:
        raise ValueError(f"a field of view of {degrees} degrees; expected between 0 and 180")
    return degrees


@dataclass(frozen=True)
class Request:
    """See `i2v3d.scene.motion.camera_files.read_track`."""

    path: Path
    size: Size
    path_only: bool

    def json(self) -> Mapping[str, Any]:
        """The file's object. Raises ValueError for anything else."""
        data = json.loads(self.path.read_text(encoding="utf-8-sig"))
        if not isinstance(data, dict):
            raise ValueError(f"it holds a {type(data).__name__}, expected an object")
        return data

    def refuse_distortion(self, what: str) -> None:
        """Warns about a lens that is no pinhole, or raises InputError where pixels must fit."""
        if not self.path_only:
            raise InputError(
                f"camera file {self.path} has {what}; undistort its pictures to PINHOLE first (only the path of "
                "scene.camera.track can be taken without)"
            )
        log.warning("camera file %s has %s, which is left out: its path is taken", self.path, what)
