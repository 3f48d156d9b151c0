"""How sparing networks are with a GPU's memory: tiers by name, and what is done where even a tier does not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from i2v3d.errors import MachineError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tier:
    """What stages do to fit into a card of `gib` GiB at least; results agree within rounding.

    pictures: that a network sees in one call at most, 0 for all at once. coding: the same of the autoencoder.
    graphs: whether calls are recorded, which keeps their memory. framewise: the video decoder computes frame by frame
    what does not couple frames, and networks that have done their part leave the GPU. recomputed: LoRA training
    computes features again instead of keeping them. streamed: weights of UNet and ControlNet stay in main memory and
    come level by level.
    """

    name: str
    gib: float
    pictures: int
    coding: int
    graphs: bool
    framewise: bool
    recomputed: bool
    streamed: bool

    @property
    def gb(self) -> int:
        """The size of the card that it is named after, in GB."""
        return int(self.name.removesuffix("g"))

    @property
    def resident(self) -> Tier:
        """The same with all weights on the GPU, for work that cannot fetch them level by level."""
        return replace(self, streamed=False)


UNBOUNDED = Tier("80g", 0.0, 0, 0, graphs=True, framewise=False, recomputed=False, streamed=False)
"""Where there is no GPU."""
ROOMY = Tier("80g", 70.0, 0, 8, graphs=True, framewise=False, recomputed=False, streamed=False)
TIERS = (
    ROOMY,
    Tier("24g", 22.0, 48, 2, graphs=True, framewise=True, recomputed=False, streamed=False),
    Tier("16g", 15.0, 16, 1, graphs=False, framewise=True, recomputed=True, streamed=False),
    Tier("12g", 11.0, 16, 1, graphs=False, framewise=True, recomputed=True, streamed=False),
    Tier("8g", 0.0, 16, 1, graphs=False, framewise=True, recomputed=True, streamed=True),
)
"""From the most memory to the least."""


def tier(wanted: str, device: str) -> Tier:
    """The tier of that name; 'auto' is the first that the card has the memory for, without a card no bounds."""
    for candidate in TIERS:
        if candidate.name == wanted:
            return candidate
    if not device.startswith("cuda"):
        return UNBOUNDED
    total = card_gib(device)
    found = next(candidate for candidate in TIERS if total >= candidate.gib)
    log.info("runtime.memory=%s: the card has %.1f GiB", found.name, total)
    return found


def card_gib(device: str) -> float:
    """Memory of the card in GiB, as far as this process may use it."""
    import torch

    index = card_index(device)
    share = torch.cuda.get_per_process_memory_fraction(index)
    return float(share * torch.cuda.get_device_properties(index).total_memory) / 2**30


def card_index(device: str) -> int:
    """The number of a card that torch names 'cuda' or 'cuda:N'."""
    import torch

    index = torch.device(device).index
    return torch.cuda.current_device() if index is None else index


def card_version(device: str) -> tuple[int, int] | None:
    """Major and minor version of the instructions that an NVIDIA card knows; None for any other device."""
    import torch

    if not device.startswith("cuda") or torch.version.cuda is None:
        return None
    return torch.cuda.get_device_capability(device)


def prepare(memory: Tier, device: str) -> None:
    """Lets memory grow and shrink in pages where a tier is short of it, so that it does not lie about in pieces.

    Not where calls are recorded: there pieces are used again as they are.
    """
    import torch

    if device.startswith("cuda"):
        wanted = "False" if memory.graphs else "True"
        torch._C._accelerator_setAllocatorSettings(f"expandable_segments:{wanted}")


SAMPLING_GIB = 16.0
"""What a step of the video network needs besides its weights, with all branches in one call."""


def room_for_features(device: str) -> float:
    """Bytes that features may take which are kept for later steps."""
    import os

    import torch

    if not device.startswith("cuda"):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    held = torch.cuda.memory_allocated(device) / 2**30
    free = torch.cuda.mem_get_info(device)[0] / 2**30 + torch.cuda.memory_reserved(device) / 2**30
    return max(0.0, min(free, card_gib(device)) - held - SAMPLING_GIB) * 2**30


def limited(max_batch: int, pictures: int) -> int:
    """The smaller of two limits of pictures a call, of which 0 is none."""
    return min(max_batch or pictures, pictures or max_batch)


def with_less_if_full(what: str, first: Tier, device: str, work: Callable[[Tier], None]) -> Tier:
    """Runs `work` in a tier and, if the GPU's memory is full, once more in the next leaner one; returns which it was.

    what: for the log. Raises MachineError, with numbers, if memory is full again or there is no leaner tier.
    """
    try:
        prepare(first, device)
        work(first)
        return first
    except RuntimeError as error:
        told = full(error, device)
        if told is None:
            raise
        rest = _leaner(first)
        if not rest:
            raise MachineError(_hopeless(what, first, told)) from error
    _forget(device)
    log.warning("%s does not fit with runtime.memory=%s: %s; trying %s", what, first.name, told, rest[0].name)
    try:
        prepare(rest[0], device)
        work(rest[0])
        return rest[0]
    except RuntimeError as error:
        told = full(error, device)
        if told is None:
            raise
        raise MachineError(_hopeless(what, rest[0], told)) from error


def full(error: BaseException, device: str) -> str | None:
    """If the error says that the GPU's memory is full: how much was asked for, used and there; else None."""
    import torch

    if not isinstance(error, torch.OutOfMemoryError):
        return None
    asked = str(error).partition("Tried to allocate ")[2].partition(". ")[0] or "more memory"
    if not device.startswith("cuda"):
        return f"it asked for {asked}"
    free, total = (value / 2**30 for value in torch.cuda.mem_get_info(device))
    peak = torch.cuda.max_memory_allocated(device) / 2**30
    return (
        f"it asked for {asked} with {peak:.1f} GiB in use at most, of {card_gib(device):.1f} GiB allowed; "
        f"the card has {free:.1f} of {total:.1f} GiB free"
    )


def _hopeless(what: str, last: Tier, told: str) -> str:
    leaner = _leaner(last)
    hint = f"set runtime.memory={leaner[0].name}, " if leaner else ""
    return (
        f"{what} does not fit on the GPU with runtime.memory={last.name}: {told}; end what else uses the card, "
        f"{hint}or lower models.width and models.height"
    )


def _leaner(than: Tier) -> tuple[Tier, ...]:
    return TIERS[TIERS.index(than) + 1 :] if than in TIERS else ()


def _forget(device: str) -> None:
    """Gives back what the failed attempt held."""
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
