"""Where Blender renders: the CPU, unless it is the longer way."""

from __future__ import annotations

import pytest

from i2v3d.blender.renderer import choose_device

FLAT = 91 * 1024 * 576 * 8  # the coarse passes of a long shot
LARGE = 300 * 1920 * 1080 * 512


@pytest.mark.parametrize(
    ("wanted", "device", "samples", "found", "why"),
    [
        ("auto", "cuda", FLAT, "cpu", "compile its kernels"),
        ("auto", "cuda", LARGE, "cuda", "compile its kernels"),
        ("auto", "cpu", LARGE, "cpu", "no GPU"),
        ("gpu", "cuda:1", FLAT, "cuda:1", "is gpu"),
        ("gpu", "cpu", FLAT, "cpu", "no GPU"),
        ("cpu", "cuda", LARGE, "cpu", "is cpu"),
    ],
)
def test_what_pays_decides_unless_somebody_asks(
    wanted: str, device: str, samples: int, found: str, why: str
) -> None:
    chosen, told = choose_device(wanted, device, samples, cores=8)
    assert chosen == found
    assert why in told
