"""Tiers of memory: which one is chosen, and what happens when a GPU is full."""

from __future__ import annotations

import pytest
import torch

from i2v3d.errors import MachineError
from i2v3d.models import memory
from i2v3d.models.memory import ROOMY, TIERS, UNBOUNDED, Tier, limited, tier, with_less_if_full

NAMES = [known.name for known in TIERS]


@pytest.mark.parametrize(
    ("gib", "name"),
    [(139, "80g"), (79.6, "80g"), (47, "24g"), (23.5, "24g"), (15.7, "16g"), (11.6, "12g"), (7.7, "8g")],
)
def test_auto_takes_what_the_card_has(gib: float, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "card_gib", lambda device: gib)
    assert tier("auto", "cuda").name == name
    assert tier("12g", "cuda").name == "12g"


def test_without_a_gpu_nothing_is_bounded_unless_it_is_asked_for() -> None:
    assert tier("auto", "cpu") is UNBOUNDED
    assert tier("8g", "cpu").streamed


def test_the_smaller_limit_counts_and_zero_is_none() -> None:
    assert [limited(*pair) for pair in ((0, 0), (0, 4), (4, 0), (4, 6), (6, 4))] == [0, 4, 4, 4, 4]


def full_in(names: list[str]) -> tuple[list[str], object]:
    tried: list[str] = []

    def work(used: Tier) -> None:
        tried.append(used.name)
        if used.name in names:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has 1 GiB")

    return tried, work


def test_a_full_gpu_is_tried_once_with_less(caplog: pytest.LogCaptureFixture) -> None:
    tried, work = full_in(["80g"])
    assert with_less_if_full("interpolate", ROOMY, "cpu", work).name == "24g"
    assert tried == ["80g", "24g"]
    assert (
        "interpolate does not fit with runtime.memory=80g: it asked for 2.50 GiB; trying 24g" in caplog.text
    )


@pytest.mark.parametrize(
    ("full", "start", "tried", "said"),
    [
        (
            NAMES,
            ROOMY,
            NAMES[:2],
            "runtime.memory=24g: it asked for 2.50 GiB; .* set runtime.memory=16g, or lower",
        ),
        (
            NAMES,
            TIERS[-1],
            NAMES[-1:],
            "runtime.memory=8g: it asked for 2.50 GiB; end what else uses the card, or",
        ),
    ],
)
def test_a_gpu_that_stays_full_is_told_with_the_way_out(
    full: list[str], start: Tier, tried: list[str], said: str
) -> None:
    found, work = full_in(full)
    with pytest.raises(MachineError, match=said):
        with_less_if_full("interpolate", start, "cpu", work)
    assert found == tried


def test_other_errors_are_not_tried_again() -> None:
    tried = []

    def work(used: Tier) -> None:
        tried.append(used.name)
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        with_less_if_full("interpolate", ROOMY, "cpu", work)
    assert tried == ["80g"]
