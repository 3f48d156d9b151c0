"""A tiny random Wan VACE pipeline on disk, in the published layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanVACETransformer3DModel
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from i2v3d.models.wan_vace import FillCondition, FillNetwork
from tests.support.once import written_once
from tests.support.video_family import seeded

CHANNELS, TEXT_WIDTH, LATENT_STRIDE, FACTOR = 16, 32, 4, 8


def tiny_transformer() -> WanVACETransformer3DModel:
    """Three layers, two of them with a control branch, whose output is not zero here so that control has an effect."""
    net = WanVACETransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=256,
        ffn_dim=32,
        num_layers=3,
        rope_max_seq_len=32,
        vace_layers=[0, 2],
        vace_in_channels=2 * CHANNELS + FACTOR**2,
    )
    for block in net.vace_blocks:
        nn.init.normal_(block.proj_out.weight, std=0.3)
    return net


def tiny_vae() -> AutoencoderKLWan:
    """Wan's strides, with statistics of its latents that are not 0 and 1."""
    return AutoencoderKLWan(
        base_dim=3,
        z_dim=CHANNELS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )


def scheduler() -> UniPCMultistepScheduler:
    """As the published pipeline's."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, num_train_timesteps=1000
    )


def tiny_text_encoder() -> UMT5EncoderModel:
    """Two layers over eight words."""
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=8,
            d_model=TEXT_WIDTH,
            d_kv=8,
            d_ff=37,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
        )
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """Words to numbers, an end token after the last one, as UMT5's."""
    words = ["<pad>", "</s>", "<unk>", "a", "red", "cup", "blurry", "&"]
    core = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


@written_once
def write_tiny_pipeline(folder: Path) -> None:
    """Writes all parts from a fixed seed, always the same."""
    for name, build in {
        "transformer": tiny_transformer,
        "vae": tiny_vae,
        "text_encoder": tiny_text_encoder,
    }.items():
        seeded(build).save_pretrained(folder / name, safe_serialization=True)
    scheduler().save_pretrained(folder / "scheduler")
    tokenizer().save_pretrained(folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanVACEPipeline"}))


def velocity(transformer: Any) -> Tensor:
    """What a tiny transformer makes of one clip of random numbers, always the same."""
    random = torch.Generator().manual_seed(3)
    condition = FillCondition(
        torch.randn(1, 7, TEXT_WIDTH, generator=random), torch.randn(1, 96, 2, 4, 6, generator=random)
    )
    x = torch.randn(1, 2, CHANNELS, 4, 6, generator=random)
    with torch.no_grad():
        return FillNetwork(transformer, 1.0)(x, 500.0, condition)
