"""The GPUs that torch sees."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """A card. total_gib, free_gib: of its memory."""

    name: str
    total_gib: float
    free_gib: float


def found_gpus() -> list[Gpu]:
    """All of them, in torch's order; none where torch finds none."""
    import torch  # seconds that nobody else should wait for

    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found.append(Gpu(torch.cuda.get_device_name(index), total / 2**30, free / 2**30))
    return found
