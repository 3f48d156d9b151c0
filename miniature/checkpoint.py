"""What an interrupted training needs to go on as if nothing had happened, in one safetensors file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from i2v3d.artifacts.files import replacing
from i2v3d.errors import WeightsError

SUFFIX = ".checkpoint.safetensors"
"""How the names of states end, to tell them from weights."""


@dataclasses.dataclass
class Checkpoint:
    """Where a training keeps its state and how often.

    identity: digest of all that decides the training's result (see `identify`); a state with another one is
    refused. every: optimiser steps between writing, 0: never. rendered: pictures in this process's pool,
    0 until it is rendered; a continued training renders as many again, whatever the time that takes.
    """

    path: Path
    identity: str
    every: int
    rendered: int = 0

    def write(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Replaces the state in one step: a reader sees the old one or the new one, whole."""
        text = json.dumps({**facts, "identity": self.identity})
        write_tensors(self.path, tensors, {"facts": text})

    def read(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Tensors and facts of the last `write`; None if there is no file.

        Raises WeightsError if the file is no such state, or that of another training.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                facts: dict[str, Any] = json.loads((file.metadata() or {})["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise WeightsError(f"{self.path} is not a training's state ({error}); delete it") from error
        if facts["identity"] != self.identity:
            raise WeightsError(
                f"{self.path} belongs to a training with other settings, data stream, number of processes or "
                "starting weights; restore those to go on, or delete the file to start again"
            )
        return tensors, facts

    def remove(self) -> None:
        """Removes the state, once the training is over."""
        self.path.unlink(missing_ok=True)


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a safetensors file that appears whole or not at all."""
    with replacing(path) as sibling:
        save_file(dict(tensors), sibling, metadata=dict(metadata or {}) or None)


def identify(weights: Path, **facts: Any) -> str:
    """Digest of JSON-like facts and of every weight file of a folder."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for path in sorted(weights.glob("*.safetensors")):
        if not path.name.endswith(SUFFIX):
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
