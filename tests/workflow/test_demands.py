"""What jobs ask of the machine that they run on."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from i2v3d.stages.registry import STAGES
from i2v3d.workflow.demands import Computer, asked_cards, asked_threads, forks_jobs, memory_bytes

AUTO = {"device": "auto", "memory_mb": 5000}


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 2), (8, 4), (64, 4)])
def test_jobs_share_the_cores_of_a_machine_without_a_card(cores: int, threads: int) -> None:
    here = Computer(cores, has_card=False, memory_mb=10**6)
    assert asked_threads(STAGES["lora"], AUTO, here) == threads
    assert asked_cards(STAGES["lora"], AUTO, here) == 0


def test_what_everything_waits_for_has_all_cores() -> None:
    here = Computer(2, has_card=False, memory_mb=10**6)
    assert asked_threads(STAGES["interpolate"], AUTO, here) == STAGES["interpolate"].machine.threads
    assert asked_threads(STAGES["interpolation_inversion"], AUTO, here) == 1


def test_networks_run_one_at_a_time_where_the_memory_is_small() -> None:
    """Two cores start two jobs of 5000 MB each."""
    small, enough = (Computer(2, has_card=False, memory_mb=mb) for mb in (9_999, 10_000))
    assert asked_cards(STAGES["lora"], AUTO, small) == 1
    assert asked_cards(STAGES["lora"], AUTO, enough) == 0
    assert asked_cards(STAGES["render"], AUTO, small) == 0


def test_a_card_has_one_job_unless_the_user_computes_elsewhere() -> None:
    here = Computer(2, has_card=True, memory_mb=10**6)
    assert (asked_threads(STAGES["lora"], AUTO, here), asked_cards(STAGES["lora"], AUTO, here)) == (4, 1)
    on_cores = AUTO | {"device": "cpu"}
    assert (asked_threads(STAGES["lora"], on_cores, here), asked_cards(STAGES["lora"], on_cores, here)) == (
        1,
        0,
    )


def test_a_cluster_is_asked_for_what_the_registry_says() -> None:
    for stage in STAGES.values():
        assert asked_threads(stage, AUTO, None) == stage.machine.threads
        assert asked_cards(stage, AUTO, None) == stage.machine.gpus


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_memory_is_what_a_container_may_use(tmp_path: Path, name: str) -> None:
    total = psutil.virtual_memory().total
    assert memory_bytes(tmp_path) == total
    limit = tmp_path / name
    limit.parent.mkdir(exist_ok=True)
    for told, expected in (("max\n", total), ("1000000\n", 10**6), (f"{2**62}\n", total)):
        limit.write_text(told)
        assert memory_bytes(tmp_path) == expected


@pytest.mark.parametrize(
    ("device", "warm", "has_card", "forks"),
    [
        ("auto", True, False, True),
        ("cpu", True, True, True),
        ("auto", True, True, True),
        ("cuda:1", True, True, True),
        ("mps", True, True, False),
        ("auto", False, True, False),
        ("cpu", False, False, False),
    ],
)
def test_jobs_are_forked_where_cores_or_nvidias_cards_compute(
    device: str, warm: bool, has_card: bool, forks: bool
) -> None:
    runtime = {"device": device, "warm": warm}
    assert forks_jobs(runtime, Computer(2, has_card, memory_mb=10**6)) is forks
    assert not forks_jobs(runtime, None)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_jobs_import_for_themselves_where_another_makers_card_computes(device: str) -> None:
    here = Computer(2, has_card=True, memory_mb=10**6, has_other_card=True)
    assert not forks_jobs({"device": device, "warm": True}, here)
    assert forks_jobs({"device": "cpu", "warm": True}, here)
