"""Networks run faster than diffusers runs them, with the same mathematics."""

from __future__ import annotations

import torch


def usable(device: str, dtype: torch.dtype) -> bool:
    """Whether the fast networks run there: on a GPU their kernels are for half precision."""
    return not device.startswith("cuda") or dtype in (torch.float16, torch.bfloat16)
