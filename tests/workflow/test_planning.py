"""What planning loads, and that it writes all or nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from i2v3d.errors import ConfigError
from i2v3d.workflow.planning import Asked, plan_run, planned_runtime
from tests.support.checkout import ROOT, make_checkout

HEAVY = {"torch", "bpy", "diffusers", "transformers", "peft", "accelerate", "wandb", "matplotlib", "av"}
PICTURES = {"cv2", "scipy"}  # which the check of a photo needs
# What the rules import, then a plan, in a fresh process.
PLANNED = """
import re, sys, json
from pathlib import Path
for rules in sorted(Path("rules").glob("*.smk")):
    for line in re.findall(r"^from i2v3d.*$", rules.read_text(), flags=re.MULTILINE):
        exec(line)
from i2v3d.workflow.planning import Asked
from i2v3d.benchmark.plan_benchmark import plan_asked
from i2v3d.workflow.planning import plan_run
{"run": plan_run, "benchmark": plan_asked}[sys.argv[1]](Asked.read(json.loads(sys.argv[2]), Path("conf")))
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


def asked(folder: Path, **words: str) -> Asked:
    return Asked.read({"cache": str(folder / "cache"), **words}, ROOT / "conf")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "words", "more"),
    [
        ("run", {"overrides": "experiment=demo"}, PICTURES),
        ("run", {"overrides": "scene=coffee"}, set()),
        ("benchmark", {"benchmark": "quick"}, PICTURES),
    ],
)
def test_planning_loads_no_network_and_no_blender(
    tmp_path: Path, kind: str, words: dict[str, str], more: set[str]
) -> None:
    folder = make_checkout(tmp_path / "checkout")
    done = subprocess.run(
        [sys.executable, "-c", PLANNED, kind, json.dumps(words)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "i2v3d" in loaded and not loaded & (HEAVY | more)


def test_an_unknown_option_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config swep is unknown; did you mean 'sweep'"):
        asked(tmp_path, swep="paper")


def test_a_plan_with_a_mistake_writes_no_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError):
        plan_run(asked(tmp_path, overrides="scene.frames=14"))
    assert not list((tmp_path / "cache" / "plan").glob("scene/*"))


def test_jobs_ask_for_the_memory_of_the_variant_that_needs_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    words = asked(tmp_path, overrides="experiment=demo runtime.memory_mb=3000,7000", multirun="true")
    assert len(plan_run(words).variants) == 2
    assert planned_runtime(words.settings)["memory_mb"] == 7000
