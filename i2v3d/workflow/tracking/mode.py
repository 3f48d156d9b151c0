"""Whether runs are tracked, and where to: what the environment says, else the configuration."""

from __future__ import annotations

import os
from typing import Literal

from i2v3d.config.runtime import TrackingConfig
from i2v3d.errors import ConfigError

VARIABLE = "WANDB_MODE"
Mode = Literal["offline", "online", "disabled"]
_MODES: dict[str, Mode] = {
    "offline": "offline",
    "dryrun": "offline",
    "online": "online",
    "run": "online",
    "disabled": "disabled",
}


def tracking_mode(cfg: TrackingConfig) -> Mode:
    """The environment's WANDB_MODE, else the configuration's. Raises ConfigError if the former is no mode."""
    asked = os.environ.get(VARIABLE) or cfg.mode
    if asked not in _MODES:
        raise ConfigError(f"{VARIABLE} is {asked!r}; set it to offline, online or disabled, or unset it")
    return _MODES[asked]
