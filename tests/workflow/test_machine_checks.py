"""What this machine cannot do is said before any work."""

from __future__ import annotations

import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import av
import pytest

from i2v3d.errors import ConfigError, I2V3DError, MachineError
from i2v3d.workflow.demands import Computer
from i2v3d.workflow.machine_checks import check_device, check_here, check_temporary_folder

BARE, WITH_CARD = (Computer(2, has_card=has_card, memory_mb=8000) for has_card in (False, True))


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_ready_machine_is_silent(device: str) -> None:
    for here in (BARE, WITH_CARD):
        check_here(device, here)
    for device in ("cuda", "cuda:0", "cuda:00"):
        check_device(device, WITH_CARD.has_card)


def test_no_cores_are_too_few() -> None:
    with pytest.raises(ConfigError, match="--cores is 0, with which no job would ever start"):
        check_here("auto", Computer(0, has_card=False, memory_mb=8000))


@pytest.mark.parametrize(
    ("device", "here", "told"),
    [
        ("cuda", BARE, "runtime.device is cuda, but this machine has no graphics card"),
        ("cuda:0", BARE, "use runtime.device=auto or mend the driver"),
        ("cuda:1", WITH_CARD, "choose cards by CUDA_VISIBLE_DEVICES=1 and runtime.device=cuda"),
        ("cuda:012", WITH_CARD, "CUDA_VISIBLE_DEVICES=12 "),
    ],
)
def test_a_card_that_no_job_sees_is_refused(device: str, here: Computer, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_here(device, here)
    assert told in str(raised.value)


def test_what_is_installed_is_compared_with_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "torch":
            raise metadata.PackageNotFoundError(name)
        return "0.0.1" if name == "diffusers" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(MachineError, match="torch is not installed") as raised:
        check_here("auto", BARE)
    assert "diffusers is 0.0.1, expected " in str(raised.value) and "requirements.lock" in str(raised.value)


def test_an_encoder_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"png"})
    with pytest.raises(MachineError, match="has no encoder libx264"):
        check_here("auto", BARE)


def test_a_temporary_folder_that_is_full_or_nowhere_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(MachineError, match=r"has 1 MB free, expected 100 MB; free some or name another"):
        check_temporary_folder()

    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(I2V3DError, match=r"No usable temporary directory found.*TMPDIR=FOLDER"):
        check_temporary_folder()
