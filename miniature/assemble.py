"""Trained parts to one family: `python -m miniature assemble --weights FOLDER... --out weights/mini`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from i2v3d.errors import WeightsError
from i2v3d.toy.architectures import COMPONENTS
from i2v3d.toy.family import TEMPORAL_DECODER, copy_image_decoder
from i2v3d.toy.infill_family import TRAINED
from miniature.loop import load_half

PARTS: dict[str, str] = {
    "image/vae": "vae",
    "image/text_encoder": "te1",
    "image/text_encoder_2": "te2",
    "image/unet": "unet",
    "image_controlnet": "controlnet",
    "video/image_encoder": "vision",
    "video/unet": "vunet",
    "video_controlnet": "vcontrolnet",
    "estimator": "estimator",
}
"""Where each weight file of a training folder belongs in the family."""

INFILL_PARTS = {"transformer": "infill", "vae": "infill_vae"}
"""The same of the miniature of Wan VACE."""

SUMS = "SHA256SUMS"


def trained_networks(weights: Sequence[Path]) -> dict[str, nn.Module]:
    """Every network of the family with the weights of training folders, of files of one name the last.

    The video autoencoder is the image autoencoder: without a trained one its decoder is an exact copy, frame by
    frame. Raises WeightsError if a part is missing or does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        # Layers that nobody trained, such as the decoder's temporal ones, are alike every time.
        torch.manual_seed(0)
        networks: dict[str, nn.Module] = {name: build() for name, build in COMPONENTS.items()}
    for name, file in PARTS.items():
        load_half(networks[name], _last(weights, file) or weights[-1] / f"{file}.safetensors")
    image, video = networks["image/vae"], networks["video/vae"]
    copy_image_decoder(image, video)
    trained = _last(weights, TEMPORAL_DECODER)
    if trained is not None:
        load_half(video, trained)
        _check_encoder(image, video, trained)
    return networks


def trained_infill(weights: Sequence[Path]) -> dict[str, nn.Module]:
    """The networks of the miniature of Wan VACE with the weights of training folders, of files of one name the last.

    Raises WeightsError if a part is missing or does not fit.
    """
    networks: dict[str, nn.Module] = {name: build() for name, build in TRAINED.items()}
    for name, file in INFILL_PARTS.items():
        load_half(networks[name], _last(weights, file) or weights[-1] / f"{file}.safetensors")
    return networks


def _last(weights: Sequence[Path], file: str) -> Path | None:
    """The weight file of that name in the last of the folders that has it."""
    places = [folder / f"{file}.safetensors" for folder in weights]
    return next((path for path in reversed(places) if path.is_file()), None)


def _check_encoder(image: nn.Module, video: nn.Module, file: Path) -> None:
    """Raises WeightsError if the video VAE was trained for the latents of another image VAE."""
    own = image.state_dict()
    for name, value in video.state_dict().items():
        if name.startswith(("encoder.", "quant_conv.")) and not torch.equal(own[name].half(), value.half()):
            raise WeightsError(
                f"{file} was trained for another image autoencoder ({name} differs); train temporal_decoder again "
                "from the vae.safetensors that goes into the family, or leave the file out"
            )


def write_checksums(family: Path) -> None:
    """Writes SHA256SUMS of every file but the card, in the format of `sha256sum -c`."""
    files = sorted(p for p in family.rglob("*") if p.is_file() and p.name not in (SUMS, "README.md"))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(family)}" for path in files]
    (family / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")
