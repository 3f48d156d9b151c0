"""The exception tree. Every message is one line: what, where, what was expected, what to do next.

The command line prints the message of an `I2V3DError` and exits with code 2; the traceback goes to the log.
Anything that is not an `I2V3DError` is a defect of this program and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class I2V3DError(Exception):
    """Base of every error that a user can cause and mend."""


class ConfigError(I2V3DError):
    """A configuration value is unknown, mistyped, out of range, or contradicts another one."""


class InputError(I2V3DError):
    """A file that the user gave (photo, mask, mesh, LoRA, renders) cannot be used."""


class ArtifactError(I2V3DError):
    """A stage directory is missing, incomplete, or does not fit the other ones."""


class WeightsError(I2V3DError):
    """Model weights are missing, corrupt, or of another architecture."""


class ShapeError(I2V3DError):
    """Arrays that must agree in shape, length or range do not."""


class LayerError(I2V3DError):
    """A layer name or pattern matches nothing in the network."""


class RenderError(I2V3DError):
    """Blender refused the scene, crashed, or rendered something that cannot be right."""


class MachineError(I2V3DError):
    """The machine lacks something: a system library, disk space, a writable folder."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Ends an 'unknown name' message: the nearest known names first, else all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(c) for c in close)}?"
    return f"known: {', '.join(names) if names else 'none'}"
