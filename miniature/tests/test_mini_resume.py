"""Trainings that are interrupted, refused, watched, or spread over processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from i2v3d.errors import WeightsError
from i2v3d.toy import architectures
from miniature import loop
from miniature.checkpoint import Checkpoint, identify, write_tensors
from miniature.loop import merge, save_half
from miniature.tests.support import command

pytestmark = pytest.mark.slow  # trainings, and the shipped networks

CONF = Path(__file__).parents[1] / "conf" / "training"
STEPS = 4


@pytest.fixture(autouse=True)
def _small_autoencoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(architectures.VAE_CONFIG, "block_out_channels", (32, 32, 32, 32))


def _tiny(name: str, path: Path, **loop_changes: Any) -> Path:
    """The shipped settings for a few small steps on the CPU."""
    content = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    content["world"] |= {"variants": 40, "pool": 6, "chunk": 1, "samples": 1, "held_out": 2}
    content["world"] |= {"width": 48, "height": 32}
    content["loop"] |= {"max_steps": STEPS, "batch": 2, "log_every": 3, "warm_up": 1, "seconds": 1e6}
    content["loop"] |= loop_changes
    content |= {"measured": 4} if "measured" in content else {}
    content |= {"frames": 3} if "frames" in content else {}
    path.write_text(yaml.safe_dump(content))
    return path


def _train(model: str, config: Path, folder: Path, *words: str) -> None:
    places = ["--config", config, "--weights", folder / "weights", "--out", folder / "out"]
    command("train", model, "--device", "cpu", *places, *words)


def _interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ends the training with an exception after some steps, as Ctrl-C does."""
    step: Callable[..., None] = loop._Loop.step

    def interrupted(self: Any, gradients: Any) -> None:
        if self.outcome.steps == after:
            raise KeyboardInterrupt
        step(self, gradients)

    monkeypatch.setattr(loop._Loop, "step", interrupted)


def _weights(folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        save_half(architectures.image_vae(), folder / "weights" / "vae.safetensors")
    return folder


@pytest.mark.parametrize("model", ["vae", "vae_decoder", "temporal_decoder", "clip"])
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = _tiny(model, tmp_path / "tiny.yaml")
    whole, broken = _weights(tmp_path / "whole"), _weights(tmp_path / "broken")
    _train(model, config, whole, "--checkpoint-every", "3")
    with monkeypatch.context() as during:
        _interrupt(during, after=3)
        with pytest.raises(KeyboardInterrupt):
            _train(model, config, broken, "--checkpoint-every", "2")
    state = broken / "out" / f"{model}.checkpoint.safetensors"
    assert state.is_file() and not list((broken / "out").glob("vae.safetensors"))
    # A pool that time cut short is rendered again as it was: these settings would render only one batch.
    monkeypatch.setattr("miniature.data.time.monotonic", _Leaps())
    _train(model, config, broken, "--checkpoint-every", "2")
    assert not state.exists() and not (whole / "out" / state.name).exists()
    for path in sorted((whole / "out").glob("*.safetensors")):
        assert path.read_bytes() == (broken / "out" / path.name).read_bytes(), path.name
    one, two = (json.loads((f / "out" / f"{model}.json").read_text()) for f in (whole, broken))
    assert {**one, "seconds": 0} == {**two, "seconds": 0} and one["steps"] == STEPS


class _Leaps:
    """A clock that gains an hour whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 3600
        return self.now


def test_states_of_other_trainings_and_broken_files_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config, folder = _tiny("clip", tmp_path / "tiny.yaml"), _weights(tmp_path)
    with monkeypatch.context() as during:
        _interrupt(during, after=2)
        with pytest.raises(KeyboardInterrupt):
            _train("clip", config, folder, "--checkpoint-every", "1")
    state = folder / "out" / "clip.checkpoint.safetensors"
    whole = state.read_bytes()
    for words in ([config, folder, "--stream", "1"], [_tiny("clip", tmp_path / "b.yaml", rate=1.0), folder]):
        with pytest.raises(WeightsError, match="belongs to a training with other settings"):
            _train("clip", *words)
    state.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"is not a training's state .*; delete it"):
        _train("clip", config, folder)


def test_identity_follows_settings_and_weights_but_not_states(tmp_path: Path) -> None:
    write_tensors(tmp_path / "vae.safetensors", {"a": torch.zeros(1)})
    before = identify(tmp_path, stream=0)
    write_tensors(tmp_path / "vae.checkpoint.safetensors", {"a": torch.zeros(1)})
    assert identify(tmp_path, stream=0) == before != identify(tmp_path, stream=1)
    write_tensors(tmp_path / "vae.safetensors", {"a": torch.ones(1)})
    assert identify(tmp_path, stream=0) != before


def test_a_failed_write_leaves_the_last_state(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "a.checkpoint.safetensors", "me", 1)
    assert checkpoint.read() is None
    checkpoint.write({"x": torch.ones(2)}, {"step": 3})
    with pytest.raises(ValueError, match="Key `x` is invalid"):
        checkpoint.write({"x": "no tensor"}, {"step": 4})  # type: ignore[dict-item]
    saved = checkpoint.read()
    assert saved is not None and saved[1]["step"] == 3 and torch.equal(saved[0]["x"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["a.checkpoint.safetensors"]


def test_of_weights_of_one_name_the_last_folder_counts(tmp_path: Path) -> None:
    for folder, names in {"one": ("vae", "unet"), "two": ("vae",)}.items():
        for name in names:
            write_tensors(tmp_path / folder / f"{name}.safetensors", {folder: torch.zeros(1)})
    one, two = tmp_path / "one", tmp_path / "two"
    both = merge([one, two], tmp_path / "both")
    assert list(load_file(both / "vae.safetensors")) == ["two"]
    assert list(load_file(both / "unet.safetensors")) == ["one"]
    assert merge([one], tmp_path / "unused") == one and not list(merge([], tmp_path / "none").iterdir())
    with pytest.raises(WeightsError, match="absent is not a folder"):
        merge([one, tmp_path / "absent"], tmp_path / "more")


def test_training_needs_no_tracker_and_no_workflow() -> None:
    blocked = ["wandb", "omegaconf", "hydra", "snakemake", "i2v3d.workflow.tracking"]
    code = (
        f"import sys, torch\nblocked = {blocked!r}\n"
        "held = [n for n in sys.modules if any(n.startswith(f'{b}.') for b in blocked)]\n"
        "sys.modules.update(dict.fromkeys([*blocked, *held]))\nimport miniature.train"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_scalars_go_to_the_tracker_if_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []

    @contextmanager
    def stage_run(cfg: Any, **wanted: Any) -> Iterator[Callable[[str, dict[str, Any]], None]]:
        assert cfg.mode == "offline" and wanted["config"]["loop"]["max_steps"] == STEPS
        yield lambda kind, row: rows.append(dict(row))

    monkeypatch.setattr("i2v3d.workflow.tracking.wandb.stage_run", stage_run)
    config, folder = _tiny("clip", tmp_path / "tiny.yaml"), _weights(tmp_path)
    _train("clip", config, folder)
    assert rows == []
    _train("clip", config, folder, "--wandb", "offline")
    assert [row["step"] for row in rows[:-1]] == [3, STEPS] and "final/top1" in rows[-1]


TWO = """
import sys, time, torch
from pathlib import Path
from miniature.gradients import plain
from miniature.loop import Run, optimise, save_half
from miniature.processes import Processes
from miniature.settings import LoopSettings
processes, cpu = Processes.join(), torch.device("cpu")
network = torch.nn.Linear(1, 2)
torch.nn.init.constant_(network.weight, float(processes.rank))  # the first one's values count: 0
goal = torch.tensor([4.0, 0.0]) if processes.rank else torch.tensor([0.0, 2.0])
loss = lambda: (network.weight[:, 0] * goal).sum() + 0 * network.bias.sum()
settings = LoopSettings(60, 1, 1, 0.1, 1.0, 1, 0.0, 100.0, 0.0, 1)
parameters = list(network.parameters())
run = Run(Path(), Path(), cpu, 0, time.monotonic(), None, processes)
outcome = optimise(settings, parameters, plain(loss, lambda: (), parameters, cpu), run, "two")
assert outcome.samples == 2 and processes.stream(3) == (10_003 if processes.rank else 3)
assert network.weight.grad.flatten().tolist() == [2.0, 1.0], network.weight.grad
assert processes.gather(processes.rank) == [0, 1]
processes.wait()
torch.distributed.destroy_process_group()
"""


def test_two_processes_follow_the_mean_of_their_gradients() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", TWO],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], ends
