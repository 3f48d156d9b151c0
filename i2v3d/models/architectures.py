"""Parameter names and shapes of networks, from their architectures alone: nothing is loaded, memory is not needed.

`python -m i2v3d.models.architectures` writes `manifests/FAMILY.json` anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

from i2v3d.errors import WeightsError
from i2v3d.models.manifest import folded
from i2v3d.models.needs import NETWORKS
from i2v3d.models.published import published_networks
from i2v3d.models.published_wan import wan_networks
from i2v3d.models.temporal_controlnet import TemporalControlNet

# Fields of config.json that decide the shapes of parameters.
SHAPING = (
    "in_channels",
    "out_channels",
    "latent_channels",
    "block_out_channels",
    "layers_per_block",
    "transformer_layers_per_block",
    "cross_attention_dim",
    "use_linear_projection",
    "addition_time_embed_dim",
    "projection_class_embeddings_input_dim",
    "conditioning_embedding_out_channels",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "patch_size",
)
# The same of Wan's and UMT5's, whose names other networks use for what decides none.
WAN_SHAPING = (
    *(
        "num_attention_heads",
        "attention_head_dim",
        "in_channels",
        "text_dim",
        "freq_dim",
        "ffn_dim",
        "num_layers",
    ),
    *("patch_size", "vace_layers", "vace_in_channels", "base_dim", "z_dim", "dim_mult", "num_res_blocks"),
    *("temperal_downsample", "is_residual", "vocab_size", "d_model", "d_kv", "d_ff", "num_heads"),
)
WAN = ("WanVACETransformer3DModel", "AutoencoderKLWan", "UMT5EncoderModel")
PLACES = {
    "image/unet": ("models.image.base/unet",),
    "image/vae": ("models.image.vae/", "models.image.base/vae"),
    "image/text_encoder": ("models.image.base/text_encoder",),
    "image/text_encoder_2": ("models.image.base/text_encoder_2",),
    "image_controlnet": ("models.image.controlnet/",),
    "video/unet": ("models.video.base/unet",),
    "video/vae": ("models.video.base/vae",),
    "video/image_encoder": ("models.video.base/image_encoder",),
    "video_controlnet": ("models.video.controlnet/",),
    "wan/transformer": ("models.video.networks.base/transformer",),
    "wan/vae": ("models.video.networks.base/vae",),
    "wan/text_encoder": ("models.video.text.base/text_encoder",),
}
"""Network of `published_networks` or `wan_networks` -> where a configuration has it."""
FAMILIES = {"sdxl_svd": ("image", "video"), "sdxl_wan_vace": ("image", "wan")}
"""Family -> the networks that it is made of, by the beginning of their names."""
UNCONFIRMED = (
    "Names and shapes are those that the classes of {diffusers}, {transformers} and this project build; the headers of "
    "the published files were not at hand to be compared.",
    "Names of files and variants (fp16) are diffusers' and transformers' conventions; that each repository has them at "
    "its pinned commit was not seen.",
    "The temporal ControlNet and Wan have no pinned commit: the one that is fetched is recorded, not known beforehand.",
    "Sizes in conf/models are rounded; `i2v3d fetch` tells those of the repository.",
)
MANIFESTS = Path(__file__).parent / "manifests"


def shapes_of(builder: Callable[[], nn.Module]) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """Shapes of the parameters that are saved, and the shaping fields of the configuration, of what `builder` makes.

    A parameter of two names is left out: files hold it under one of them, or under both.
    """
    with torch.device("meta"):
        network = builder()
    names: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    twice = {name for same in names.values() if len(same) > 1 for name in same}
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items() if name not in twice}
    config = json.loads(json.dumps(_plain(network)))
    shaping = WAN_SHAPING if type(network).__name__ in WAN else SHAPING
    return shapes, {field: config[field] for field in shaping if field in config}


def derived_shapes(network: str, folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes that the config.json in `folder` leads to. Raises WeightsError if it is none of this network."""
    config = folder / "config.json"
    cls = TemporalControlNet if network == "TemporalControlNet" else getattr(_library(network), network)
    try:
        if NETWORKS[network] == "diffusers":
            shapes, _ = shapes_of(lambda: cls.from_config(json.loads(config.read_text(encoding="utf-8"))))
        else:
            shapes, _ = shapes_of(
                lambda: cls(cls.config_class.from_pretrained(folder, local_files_only=True))
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{config} describes no {network} ({first}); fetch or copy it again") from error
    return shapes


def published_manifest(family: str) -> dict[str, Any]:
    """The manifest of a published family as plain data."""
    networks: dict[str, Any] = {}
    for name, builder in {**published_networks(), **wan_networks()}.items():
        if not name.startswith(FAMILIES[family]):
            continue
        shapes, config = shapes_of(builder)
        for place in PLACES[name]:
            networks[place] = {"config": config, "tensors": folded(shapes)}
    versions = {name: f"{name} {metadata.version(name)}" for name in ("diffusers", "transformers")}
    return {"unconfirmed": [line.format(**versions) for line in UNCONFIRMED], "networks": networks}


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """A manifest as it is stored: a line a network."""
    lines = [
        f"    {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}"
        for k, v in manifest["networks"].items()
    ]
    told = json.dumps(manifest["unconfirmed"], indent=4)
    return '{\n  "unconfirmed": ' + told + ',\n  "networks": {\n' + ",\n".join(lines) + "\n  }\n}\n"


def _library(network: str) -> Any:
    return diffusers if NETWORKS[network] == "diffusers" else transformers


def _plain(network: Any) -> dict[str, Any]:
    config = network.config
    return dict(config.to_dict() if hasattr(config, "to_dict") else config)


if __name__ == "__main__":
    for each in FAMILIES:
        (MANIFESTS / f"{each}.json").write_text(manifest_text(published_manifest(each)), encoding="utf-8")
