"""Every bad input of these tests, typed as a user types it, in a project in which something is finished.

Run with `make test-faults`: some minutes, as each is a command of its own. A run of all tests gives the same inputs to
planning itself, and a few of them to the command.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from tests.faults.support import contents
from tests.faults.test_command_line import FILES, OPTIONS, SWEEPS
from tests.faults.test_foreign_scenes import HOSTILE
from tests.faults.test_values import WRONG
from tests.support.checkout import make_checkout, own_folder
from tests.workflow.test_agreement import REFUSED
from tests.workflow.test_workflow import CASES, bad_inputs

pytestmark = [pytest.mark.faults, pytest.mark.slow]
LEAST = 80
LONGEST_S = 60  # nothing is computed
IMAGE = "weights/mini/image"


@dataclass(frozen=True)
class Fault:
    """words: of i2v3d. told: what its line says. config: of snakemake instead. prepare: what is broken before, in the
    project. environment: what is set beside the usual."""

    words: tuple[str, ...]
    told: str
    config: Mapping[str, Any] | None = None
    prepare: Callable[[Path], object] = lambda _: None
    environment: Mapping[str, str] = field(default_factory=dict)


def _file(name: str, content: str | bytes) -> Callable[[Path], object]:
    """Writes a file of the configuration."""
    data = content if isinstance(content, bytes) else content.encode()
    return lambda project: (project / "conf" / name).write_bytes(data)


def _weights(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """Breaks a copy of the image model's UNet."""

    def prepare(project: Path) -> None:
        shutil.copytree((project / IMAGE).resolve(), project / "broken" / "image")
        change(project / "broken" / "image" / "unet")

    return prepare


def _half(folder: Path) -> None:
    file = folder / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000])


def _lora(project: Path) -> None:
    name = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    kept = load_file(next((project / IMAGE / "unet").resolve().glob("*.safetensors")))
    one = next(iter(kept.values())).reshape(-1)[:4] * float("nan")
    (project / "broken").mkdir()
    matrices = {f"{name}.lora_A.weight": one.reshape(1, 4), f"{name}.lora_B.weight": one.reshape(4, 1)}
    save_file(matrices, project / "broken" / "lora.safetensors")


def _instead(name: str) -> Callable[[Path], object]:
    """Puts a file where a folder is wanted."""

    def prepare(project: Path) -> None:
        (project / "broken").mkdir(exist_ok=True)
        (project / "broken" / name).write_text("")

    return prepare


BROKEN = ("scene=coffee", "models.image.base.source=broken/image")
UNET = "broken/image/unet"
OTHERS = {
    "weights that nobody fetched": Fault(("scene=coffee", "models=sdxl_svd"), "i2v3d fetch"),
    "half a file of weights": Fault(BROKEN, "is truncated or corrupt", prepare=_weights(_half)),
    "no file of weights": Fault(
        BROKEN, "lacks", prepare=_weights(lambda folder: next(folder.glob("*.safetensors")).unlink())
    ),
    "weights without their description": Fault(
        BROKEN, "config.json", prepare=_weights(lambda folder: (folder / "config.json").write_text("{"))
    ),
    "a LoRA of no numbers": Fault(
        ("scene=coffee", "lora.weights=broken/lora.safetensors"), "not finite", prepare=_lora
    ),
    "a mode that W&B has not": Fault(("scene=coffee",), "WANDB_MODE is 'ofline'", environment={"WANDB_MODE": "ofline"}),
    "a file as cache": Fault((), "file is a file; name a folder", {"cache": "broken/file"}, _instead("file")),
    "a cache below a file": Fault((), "but broken/file is a file", {"cache": "broken/file/cache"}, _instead("file")),
}  # fmt: skip


def _can_be_typed(value: object) -> bool:
    """Whether snakemake takes a value of --config from the command line as it is: all others become texts there."""
    return isinstance(value, int) or (isinstance(value, str) and value.isprintable() and bool(value.strip()))


def faults() -> dict[str, Fault]:
    """All of them, by name."""
    found = {f"value {word[:40]}": Fault(("scene=coffee", word), told) for word, told in WRONG}
    found |= {
        f"agreement {words}": Fault(("scene=coffee", "runtime.perf=plain", *words.split()), told)
        for words, told in REFUSED.items()
    }
    found |= {
        f"option {kind}": Fault((), told, config)
        for kind, (config, told) in OPTIONS.items()
        if all(map(_can_be_typed, config.values()))
    }
    found |= {
        f"file {kind}": Fault((word,), "", prepare=_file(name, text))
        for kind, (name, text, word) in FILES.items()
    }
    found |= {
        f"sweep {kind}": Fault((), told, {"sweep": "own"}, _file("sweep/own.yaml", text))
        for kind, (text, told) in SWEEPS.items()
    }
    found |= {
        f"scene {kind}": Fault(
            ("scene=theirs", "untrusted_scene=true"), told, None, _file("scene/theirs.yaml", text)
        )
        for kind, (text, told) in HOSTILE.items()
    }
    found |= {f"input {case}": Fault((case,), "") for case in CASES}
    return found | OTHERS


FAULTS = faults()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own in which something is finished already."""
    folder = make_checkout(tmp_path_factory.mktemp("typed") / "project", {"unused": "a: []"})
    for group in ("scene", "experiment"):
        own_folder(folder / "conf" / group)
    finished = folder / "results" / ".cache" / "scene" / ("a" * 12)
    finished.mkdir(parents=True)
    (finished / "photo.png").write_bytes(b"finished")
    return folder


@pytest.fixture
def files(project: Path) -> Iterator[None]:
    """Takes away what a fault has put there."""
    yield
    for name in (
        "conf/scene/own.yaml",
        "conf/scene/theirs.yaml",
        "conf/experiment/own.yaml",
        "conf/sweep/own.yaml",
    ):
        (project / name).unlink(missing_ok=True)
    shutil.rmtree(project / "broken", ignore_errors=True)


def _command(fault: Fault, project: Path) -> tuple[list[str], str]:
    """What is typed, and what its line has to say."""
    words, told = list(fault.words), fault.told
    if words and words[0] in CASES:
        words, told = bad_inputs(project.parent)[words[0]]
    if fault.config is None:
        return ["i2v3d", *words], told
    settings = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in fault.config.items()]
    return ["snakemake", "--cores", "1", "--config", *settings], told


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_and_code_2_and_nothing_finished_changes(
    name: str, project: Path, files: None, tmp_path: Path
) -> None:
    fault = FAULTS[name]
    fault.prepare(project)
    before = contents(project / "results")
    command, told = _command(fault, project)
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env={**os.environ, "HF_HOME": str(tmp_path), "SECRET": "hunter2", **fault.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    said = ended.stdout
    assert ended.returncode == 2, said[-3000:]
    lines = [line for line in said.splitlines() if line.startswith("i2v3d: error: ")]
    assert len(lines) == 1 and told in lines[0] and len(lines[0]) < 600, said[-3000:]
    assert "Traceback" not in said and "hunter2" not in said
    assert len(said.partition("Building DAG of jobs...\n")[2].splitlines()) <= 1, said[-3000:]
    assert contents(project / "results").items() >= before.items()
    assert not list(project.rglob("PWNED")) and not list(project.glob("results/.cache/*/*/stage.json"))


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) >= LEAST
