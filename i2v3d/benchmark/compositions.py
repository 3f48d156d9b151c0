"""Composed configurations, kept on disk: hundreds of shots differ in a few words, and Hydra takes its time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from i2v3d.artifacts.files import write_text
from i2v3d.toy import world as toyworld
from i2v3d.workflow.composition import Variant, compose_variants


class Compositions:
    """Composes `conf` with Hydra words; what was composed before is read from `memo` (a folder).

    An entry counts as long as no file of conf/, no module and no list that captions toy scenes has changed.
    """

    def __init__(self, conf: Path, memo: Path) -> None:
        self._conf, self._memo = conf, memo
        captions = Path(toyworld.__path__[0])
        files = [*conf.rglob("*.yaml"), *captions.glob("*.py"), *captions.glob("*.csv")]
        digest = hashlib.sha256()
        for file in sorted(files):
            digest.update(f"{file.name}\n".encode() + file.read_bytes())
        self._state = digest.hexdigest()

    def variant(self, name: str, words: Sequence[str]) -> Variant:
        """The configuration of these words. Raises ConfigError as `compose_variants`."""
        asked = json.dumps([self._state, list(words)])
        path = self._memo / f"{hashlib.sha256(asked.encode()).hexdigest()[:24]}.json"
        try:
            return Variant(name, tuple(words), json.loads(path.read_text()))
        except (OSError, ValueError):
            pass  # not composed before, or half-written by a killed process: composed anew
        (composed,) = compose_variants(self._conf, words)
        write_text(path, json.dumps(composed.config))
        return Variant(name, composed.overrides, composed.config)
