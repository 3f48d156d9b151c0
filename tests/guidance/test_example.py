"""The example of docs/python.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow  # seconds

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_documented_example_runs() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    with torch.random.fork_rng(devices=[]):
        exec(compile(code, str(PAGE), "exec"), names)
    for result in ("keyframes", "frames"):
        latents = names[result]
        assert isinstance(latents, torch.Tensor)
        assert bool(torch.isfinite(latents).all()) and float(latents.std()) > 0.1
