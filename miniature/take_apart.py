"""A family to its trained parts, to go on from: `python -m miniature take_apart weights/mini --out FOLDER`.

The reverse of assembling. FOLDER can then be named as `--weights` of a training.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from i2v3d.errors import WeightsError
from i2v3d.toy.architectures import COMPONENTS
from i2v3d.toy.family import TEMPORAL_DECODER, copy_image_decoder
from miniature.assemble import PARTS
from miniature.loop import save_half


def take_apart(family: Path, out: Path) -> None:
    """Writes every trained part of a family as fp16 safetensors. Raises WeightsError if one is missing or broken.

    The video autoencoder is among them if its decoder is not just a copy of the image decoder.
    """
    for name, file in PARTS.items():
        save_half(_read(family, name), out / f"{file}.safetensors")
    image, video = _read(family, "image/vae"), _read(family, "video/vae")
    copied = copy.deepcopy(video)
    copy_image_decoder(image, copied)
    found = video.state_dict()
    if any(not torch.equal(value, found[name]) for name, value in copied.state_dict().items()):
        save_half(video, out / f"{TEMPORAL_DECODER}.safetensors")


def _read(family: Path, name: str) -> Any:
    """A network of a family, in the precision of its file."""
    kind: Any = type(COMPONENTS[name]())
    try:
        return kind.from_pretrained(family / name)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{family / name} does not hold the family's network ({error}); name a folder that "
            "miniature/assemble.py wrote, such as weights/mini"
        ) from error
