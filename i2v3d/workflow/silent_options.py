"""Options that are off say nothing: a key then is what it was before they existed, and finished results stay good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OFF: dict[str, dict[str, tuple[Any, ...]]] = {
    "render": {"light": ("flat",)},
    "keyframes": {
        "solver": ("ddim",),
        "unconditional_every": (1,),
        "cache_interval": (1,),
        "shared": ("background",),
        "strength": (1,),
        "render_detail": (0,),
        "render_colour": (0,),
        "render_light": ("flat",),
    },
    "assemble": {"light": ("flat",)},
    "inversion": {"solver": ("euler",), "light": ("flat",)},
    "interpolate": {
        "solver": ("euler",),
        "unconditional_every": (1,),
        "segment_seeds": (None, {}),
        "drift_foreground": (0,),
        "drift_background": (0,),
        "render_detail": (0,),
        "render_light": ("flat",),
    },
}
"""Section of a stage's configuration -> option -> the values that are off."""


def without_silent(cut: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's configuration as its key has it. cut: the whole of it."""
    found = dict(cut)
    for name, options in OFF.items():
        section = cut.get(name)
        if isinstance(section, Mapping):
            found[name] = {
                option: value
                for option, value in section.items()
                if option not in options or value not in options[option]
            }
    return found
