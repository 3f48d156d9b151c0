"""What OpenMP's waiting threads cost: the same network call in processes that differ in their environment only.

A thread that has done its share of an operation spins until the others are done. Where another program holds one of
the cores, the thread that all wait for is not running, and those that spin keep it from running.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from i2v3d.errors import MachineError
from i2v3d.workflow.process_environment import WAITING_THREADS
from i2v3d.workflow.workplace import project_folder

SETTINGS: tuple[dict[str, str], ...] = (
    {},
    WAITING_THREADS,
    *({"GOMP_SPINCOUNT": count} for count in ("1000", "5000", "20000")),
    {"OMP_DYNAMIC": "TRUE"},
)
FORGOTTEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_DYNAMIC", "OMP_NUM_THREADS")
TIMEOUT_S = 600


def measure(
    threads: int, calls: int, busy: int, settings: Sequence[dict[str, str]] = SETTINGS
) -> list[dict[str, Any]]:
    """A row for each of the settings and one for a single thread.

    Median seconds of a call alone and beside `busy` processes.

    Raises MachineError if a measuring process fails.
    """
    cases = [(threads, setting) for setting in settings] + [(1, {})]
    rows = []
    for count, setting in cases:
        alone = _median_s(count, calls, setting)
        with _busy_processes(busy):
            beside = _median_s(count, calls, setting)
        rows.append(
            {
                "threads": count,
                "setting": " ".join(f"{k}={v}" for k, v in setting.items()),
                "default": count == threads and setting == WAITING_THREADS,
                "alone_s": alone,
                "beside_s": beside,
            }
        )
    return rows


def table(rows: Sequence[dict[str, Any]], busy: int) -> str:
    """The rows of `measure` as a Markdown table."""
    lines = [f"| threads | setting | alone, s | beside {busy} busy, s |", "| --- | --- | --- | --- |"]
    for row in rows:
        name = (row["setting"] or "none") + (" (every job's default)" if row["default"] else "")
        lines.append(f"| {row['threads']} | {name} | {row['alone_s']:.2f} | {row['beside_s']:.2f} |")
    return "\n".join(lines) + "\n"


def time_calls(threads: int, calls: int) -> float:
    """Median seconds of a call of the miniature's video UNet on three clips of 8 frames, after one to warm up."""
    import torch
    from diffusers import UNetSpatioTemporalConditionModel

    torch.set_num_threads(threads)
    unet = UNetSpatioTemporalConditionModel.from_pretrained(project_folder() / "weights/mini/video/unet")
    config, source = unet.config, torch.Generator().manual_seed(0)
    clips = torch.randn(3, 8, config.in_channels, 16, 24, generator=source)
    pictures = torch.randn(3, 1, config.cross_attention_dim, generator=source)
    time_ids = torch.tensor([[7.0, 127.0, 0.02]]).expand(3, -1)
    seconds = []
    with torch.no_grad():
        for _ in range(calls + 1):
            begin = time.perf_counter()
            unet(clips, torch.tensor(1.0), pictures, time_ids, return_dict=False)
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def _median_s(threads: int, calls: int, setting: dict[str, str]) -> float:
    """`time_calls` in a process of its own: OpenMP reads its environment once."""
    inherited = {name: value for name, value in os.environ.items() if name not in FORGOTTEN}
    words = [sys.executable, "-m", __name__, str(threads), str(calls)]
    done = subprocess.run(
        words, env=inherited | setting, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        raise MachineError(
            f"a measuring process failed: {done.stderr.strip().splitlines()[-1:]}; "
            "run the command on a machine with free memory"
        )
    return float(done.stdout)


@contextmanager
def _busy_processes(count: int) -> Iterator[None]:
    """That many processes which keep one core each busy."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.stdout.write(f"{time_calls(int(sys.argv[1]), int(sys.argv[2]))}\n")
