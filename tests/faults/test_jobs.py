"""Jobs on inputs and disks that went wrong: a line and code 2, nothing computed, nothing published."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from i2v3d import cli
from i2v3d.artifacts.folders import publish
from i2v3d.artifacts.latents import InvertedClip, InvertedKeyframes
from i2v3d.blender.process import run_child
from i2v3d.commands import tree
from i2v3d.errors import I2V3DError
from i2v3d.logs import LogFile
from i2v3d.workflow import runner
from tests.faults.support import contents, refused
from tests.support.jobs import render_job

KEY = "1" * 12


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """Takes away what `cli.main` adds to the log's handlers: they write to the output of one test."""
    before = list(logging.getLogger().handlers)
    yield
    for handler in set(logging.getLogger().handlers) - set(before):
        logging.getLogger().removeHandler(handler)
        handler.close()


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A job that renders a finished scene."""
    with publish(tmp_path / "cache" / "scene" / KEY) as scene:
        (scene / "scene.json").write_text("{}")
        (scene / "photo.png").write_bytes(b"picture")
    return render_job(tmp_path, {"scene": KEY}, "cache/render/out", "log")


def ended(
    words: list[str],
    entry: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """Runs the job with `entry` as its work, which fails; its line."""
    real = runner.load_entry
    monkeypatch.setattr(runner, "load_entry", lambda name: entry if "render_passes" in name else real(name))
    assert cli.main(words) == 2
    out = Path(words[words.index("--out") + 1])
    assert not out.exists() and not list(out.parent.glob(".*tmp*")), "nothing half-made stays"
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("photo.png", b"pictuRe", "photo.png holds something else"),
        ("photo.png", b"", "photo.png has 0 bytes instead of 7"),
        ("scene.json", None, "scene.json cannot be read"),
    ],
)
def test_a_changed_input_is_named_before_anything_is_computed(
    name: str, content: bytes | None, told: str, words: list[str], monkeypatch, capsys
) -> None:
    path = Path(words[words.index("--cache") + 1]) / "scene" / KEY / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    line = ended(words, lambda *_: pytest.fail("computed"), monkeypatch, capsys)
    assert told in line and f"scene/{KEY} is not as it was made" in line and "same command again" in line


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            SafetensorError("I/O error: No space left on device (os error 28)"),
            "No space left on device (os error 28);",
        ),
        (
            OSError(28, "No space left on device", "x.png"),
            "No space left on device (x.png); free or unlock the disk",
        ),
        (
            PermissionError(13, "Permission denied", "x.png"),
            "Permission denied (x.png); free or unlock the disk",
        ),
        (OSError("decoder error"), "decoder error;"),
    ],
)
def test_a_disk_that_refuses_is_a_line(
    error: Exception, told: str, words: list[str], monkeypatch, capsys
) -> None:
    def entry(*_: object) -> None:
        raise error

    before = contents(Path(words[words.index("--cache") + 1]) / "scene")
    assert told in ended(words, entry, monkeypatch, capsys)
    assert contents(Path(words[words.index("--cache") + 1]) / "scene") == before


@pytest.mark.parametrize("command", ["results", "preview-sheet", "report"])
def test_a_disk_that_refuses_a_page_is_a_line_too(command: str, tmp_path: Path, monkeypatch, capsys) -> None:
    def refuse(_: object) -> int:
        raise OSError(28, "No space left on device", "x.html")

    words = [
        command,
        *(["run", "--plan"] if command == "report" else ["--variant"]),
        "x.json",
        "--cache",
        "x",
    ]
    words += [
        "--out",
        "x",
        "--log",
        str(tmp_path / "log"),
        *(["--settings", "x"] if command == "results" else []),
    ]
    monkeypatch.setattr(f"i2v3d.commands.{command.replace('-', '_')}.run", refuse)
    monkeypatch.setattr(tree, "build_tree", tree.build_tree.__wrapped__)  # the parsers know the function
    assert cli.main(words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device (x.html); free or unlock the disk and run the same command again" in line


def test_blender_that_ends_on_a_full_disk_is_not_blamed_on_the_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    options = {"what": "testing", "env": os.environ, "stall_s": 20.0, "on_event": lambda _: None}
    for free, told in ((10, "no space left in .* while testing; free some"), (10**9, "a mesh may be broken")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        with pytest.raises(I2V3DError, match=told):
            run_child([sys.executable, "-c", "1 / 0"], log_file=tmp_path / "log", **options)


def test_a_log_on_a_full_disk_says_so_once(capsys, caplog: pytest.LogCaptureFixture) -> None:
    handler = LogFile("/dev/full", mode="w")
    logging.getLogger().addHandler(handler)
    try:
        for number in range(3):
            logging.getLogger("i2v3d").warning("line %d", number)
    finally:
        logging.getLogger().removeHandler(handler)
        with suppress(OSError):
            handler.close()
    assert [r.message for r in caplog.records if "goes no further" in r.message] == [
        "the log /dev/full goes no further: No space left on device"
    ]
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_latents_that_are_not_finite_are_not_written(bad: float, tmp_path: Path) -> None:
    latents = torch.zeros(2, 1, 4, 2, 2)
    latents[1, 0, 0, 0, 0] = bad
    assert "1 of 32 numbers are not finite" in refused(InvertedKeyframes((1,), "x", latents).save, tmp_path)
    clean, vector = torch.zeros(2, 1, 4, 2, 2), torch.zeros(1, 1, 3)
    clip = InvertedClip(
        torch.zeros(2), clean, latents, vector, clean[0, 0], vector, clean[0, 0], torch.zeros(3), {}
    )
    assert "inverted clip, reversed" in refused(clip.save, tmp_path)
    assert not list(tmp_path.iterdir())
