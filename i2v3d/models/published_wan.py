"""The architectures of the published Wan VACE models, filled with random weights: what they cost can be known without
them. Sizes are those of the configuration files that Wan2.1-VACE-1.3B-diffusers comes with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanVACETransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

TEXT_TOKENS, TEXT_WIDTH = 512, 4096
_SIZES: dict[str, dict[str, Any]] = {
    "1.3B": {
        "num_attention_heads": 12,
        "ffn_dim": 8960,
        "num_layers": 30,
        "vace_layers": list(range(0, 30, 2)),
    },
    "14B": {
        "num_attention_heads": 40,
        "ffn_dim": 13824,
        "num_layers": 40,
        "vace_layers": list(range(0, 40, 5)),
    },
}


def wan_transformer(size: str) -> WanVACETransformer3DModel:
    """The transformer of '1.3B' (2.15 billion parameters with its control branch) or '14B' (17.3)."""
    return WanVACETransformer3DModel(text_dim=TEXT_WIDTH, attention_head_dim=128, **_SIZES[size])


def wan_text_encoder() -> UMT5EncoderModel:
    """The encoder of UMT5-XXL."""
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=256384, d_model=TEXT_WIDTH, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
            feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip


def wan_networks() -> Mapping[str, Callable[[], Any]]:
    """Folder of each network of the 1.3B pipeline -> what makes it; the defaults of diffusers' VAE are Wan 2.1's."""
    return {
        "wan/transformer": lambda: wan_transformer("1.3B"),
        "wan/vae": AutoencoderKLWan,
        "wan/text_encoder": wan_text_encoder,
    }


def write_random_wan(folder: Path, size: str, device: str) -> None:
    """Writes transformer, VAE and scheduler of a pipeline, in bfloat16; weights have torch's own initial values and are
    made on `device`. 4.5 GB, of 14B 35 GB."""
    for name, builder in (("transformer", lambda: wan_transformer(size)), ("vae", AutoencoderKLWan)):
        with torch.device(device):
            network = builder()
        network.to(torch.bfloat16).save_pretrained(folder / name, safe_serialization=True)
    UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, num_train_timesteps=1000
    ).save_pretrained(folder / "scheduler")
