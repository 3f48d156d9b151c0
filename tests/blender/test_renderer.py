"""Where Blender renders: the CPU, unless it is the longer way."""

from __future__ import annotations

import logging

import pytest

from i2v3d.blender.kernels import Version
from i2v3d.blender.renderer import choose_device, device_for

FLAT = 91 * 1024 * 576 * 8  # the coarse passes of a long shot
LARGE = 300 * 1920 * 1080 * 512
H100, RTX_4090 = (9, 0), (8, 9)


@pytest.mark.parametrize(
    ("wanted", "device", "samples", "kernels", "found", "why"),
    [
        (
            "auto",
            "cuda",
            FLAT,
            False,
            "cpu",
            "about 60 s of 8 cores, 727 s of a GPU, 600 of them until its kernels are compiled",
        ),
        ("auto", "cuda", LARGE, False, "cuda", "kernels are compiled"),
        ("auto", "cuda", FLAT, True, "cpu", "about 60 s of 8 cores, 127 s of a GPU"),
        ("auto", "cuda", 8 * FLAT, True, "cuda", "about 477 s of 8 cores, 127 s of a GPU"),
        ("auto", "cpu", LARGE, False, "cpu", "no GPU"),
        ("gpu", "cuda:1", FLAT, False, "cuda:1", "is gpu"),
        ("gpu", "cpu", FLAT, False, "cpu", "no GPU"),
        ("cpu", "cuda", LARGE, True, "cpu", "is cpu"),
    ],
)
def test_what_pays_decides_unless_somebody_asks(
    wanted: str, device: str, samples: int, kernels: bool, found: str, why: str
) -> None:
    chosen, told = choose_device(wanted, device, samples, pictures=91, cores=8, kernels=kernels)
    assert chosen == found
    assert why in told


@pytest.mark.parametrize(("version", "found"), [(H100, "cpu"), (RTX_4090, "cuda"), (None, "cpu")])
def test_the_choice_is_a_line_of_the_log(
    version: Version | None, found: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setattr("i2v3d.blender.renderer.compiled_kernels", lambda: frozenset({RTX_4090}))
    with caplog.at_level(logging.INFO):
        assert device_for("auto", "cuda", 8 * FLAT, 91, lambda device: version) == found
        assert device_for("cpu", "cuda", FLAT, 91, lambda device: pytest.fail("nobody has to ask")) == "cpu"
    assert f"renders on {found}: about 477 s of 8 cores" in caplog.text
    assert "renders on cpu: runtime.render_device is cpu" in caplog.text
