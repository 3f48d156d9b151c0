"""The miniature of Wan VACE: the same classes and file layout, small, with a text encoder that nobody trained.

<folder>/transformer/   WanVACETransformer3DModel
<folder>/vae/           AutoencoderKLWan, as Wan 2.2 builds it: pixels in patches of two, residual blocks with
                        shortcuts; Wan 2.1's strides: 1/8 of a side, four frames a latent but for the first
<folder>/scheduler/     UniPC along a flow
<folder>/text_encoder/  UMT5EncoderModel as drawn from a seed: its states tell words apart, which is all that the
                        transformer needs to learn them
<folder>/tokenizer/     one token a word of the toy world
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanVACETransformer3DModel
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from i2v3d.errors import WeightsError
from i2v3d.models.layout import write_json
from i2v3d.toy.world.catalogue import vocabulary

FRAMES, STRIDE, FACTOR = 9, 4, 8  # of a segment; frames a latent; pixels a latent along either side
CHANNELS, TEXT_WIDTH, MAX_TOKENS = 48, 32, 24
_PAD, _END, _UNKNOWN = "<pad>", "</s>", "<unk>"
_TEXT_SEED = 7


def infill_vae() -> AutoencoderKLWan:
    """Clips of 4k+1 frames to k+1 latents of 48 channels; latents have mean 0 and deviation 1."""
    return AutoencoderKLWan(
        base_dim=32,
        z_dim=CHANNELS,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.0] * CHANNELS,
        latents_std=[1.0] * CHANNELS,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=STRIDE,
        scale_factor_spatial=FACTOR,
    )


def infill_transformer() -> WanVACETransformer3DModel:
    """Eight layers, four of them with a control branch; a token is a latent."""
    return WanVACETransformer3DModel(
        patch_size=(1, 1, 1),
        num_attention_heads=4,
        attention_head_dim=32,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=64,
        ffn_dim=256,
        num_layers=8,
        rope_max_seq_len=64,
        vace_layers=[0, 2, 4, 6],
        vace_in_channels=2 * CHANNELS + FACTOR**2,
    )


def infill_text_encoder() -> UMT5EncoderModel:
    """One layer over the words of the toy world, the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_TEXT_SEED)
        return UMT5EncoderModel(
            UMT5Config(
                vocab_size=len(_words()),
                d_model=TEXT_WIDTH,
                d_kv=16,
                d_ff=48,
                num_layers=1,
                num_heads=2,
                decoder_start_token_id=0,
            )
        ).eval()


def infill_tokenizer() -> PreTrainedTokenizerFast:
    """Words to numbers, an end token after the last one, as UMT5's; words of no toy are unknown."""
    core = Tokenizer(models.WordLevel({word: n for n, word in enumerate(_words())}, unk_token=_UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(single=f"$A {_END}", special_tokens=[(_END, 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token=_PAD, eos_token=_END, unk_token=_UNKNOWN)


def infill_scheduler() -> UniPCMultistepScheduler:
    """As the published pipeline's."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, num_train_timesteps=1000
    )


TRAINED: dict[str, Callable[[], nn.Module]] = {"transformer": infill_transformer, "vae": infill_vae}
"""Folder of each trained network -> what builds it."""


def write_infill_family(path: Path, networks: Mapping[str, nn.Module]) -> None:
    """Writes a whole pipeline below `path`, networks in fp16.

    networks: one of every name in `TRAINED`, left unchanged. Raises WeightsError if one is missing.
    """
    if missing := sorted(set(TRAINED) - set(networks)):
        raise WeightsError(f"the pipeline lacks {', '.join(missing)}; pass every network of TRAINED")
    for name in TRAINED:
        network: Any = copy.deepcopy(networks[name]).half()
        network.save_pretrained(path / name, safe_serialization=True)
    infill_text_encoder().half().save_pretrained(path / "text_encoder", safe_serialization=True)
    infill_tokenizer().save_pretrained(path / "tokenizer")
    infill_scheduler().save_pretrained(path / "scheduler")
    write_json(path / "model_index.json", {"_class_name": "WanVACEPipeline"})


def _words() -> tuple[str, ...]:
    return (_PAD, _END, _UNKNOWN, *vocabulary())
