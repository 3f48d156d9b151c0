"""On a machine with several cards, jobs never share one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from i2v3d.workflow.cards import VISIBLE, cards, has_card, own_card


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_cards_are_those_that_are_visible_or_all_of_the_machine(tmp_path: Path) -> None:
    devices = tmp_path / "dev"
    devices.mkdir()
    for name in ("nvidia10", "nvidia0", "nvidiactl", "nvidia-uvm", "null"):
        (devices / name).touch()
    assert cards({}, devices) == ["0", "10"]
    assert cards({VISIBLE: "GPU-a, 3"}, devices) == ["GPU-a", "3"]
    assert cards({VISIBLE: ""}, devices) == []


@pytest.mark.parametrize(
    ("name", "found"), [("nvidia0", True), ("kfd", True), ("dxg", True), ("nvidiactl", False)]
)
def test_a_card_of_any_maker_is_one(tmp_path: Path, name: str, found: bool) -> None:
    (tmp_path / name).touch()
    assert has_card({}, tmp_path) == found


def test_jobs_at_once_get_different_cards_and_free_them() -> None:
    first, second, third = ({VISIBLE: "0,1"} for _ in range(3))
    with own_card(first, 1):
        with own_card(second, 1):
            assert (first[VISIBLE], second[VISIBLE]) == ("0", "1")
        with own_card(third, 1):
            assert third[VISIBLE] == "1"


def test_who_has_one_card_keeps_it() -> None:
    """Clusters number the card of every job 0, whichever it is."""
    first, second = {VISIBLE: "0"}, {VISIBLE: "0"}
    with own_card(first, 1), own_card(second, 1):
        assert first == second == {VISIBLE: "0"}


def test_jobs_that_may_share_a_card_take_those_with_fewest_jobs() -> None:
    jobs = [{VISIBLE: "0,1"} for _ in range(4)]
    with own_card(jobs[0], 2), own_card(jobs[1], 2), own_card(jobs[2], 2), own_card(jobs[3], 2):
        assert [job[VISIBLE] for job in jobs] == ["0", "1", "0", "1"]
