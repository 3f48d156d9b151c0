"""The registry of the stages."""

from __future__ import annotations

import importlib

from i2v3d.stages.registry import STAGES


def test_every_stage_names_things_that_exist() -> None:
    for stage in STAGES.values():
        module, attribute = stage.entry.split(":")
        assert hasattr(importlib.import_module(module), attribute), stage.entry
        assert stage.can_read() | set(stage.also) <= set(STAGES)
