"""Grounding DINO: the box of what a word names on a photo, for SAM 2 to make a mask of.

Source: Liu et al., "Grounding DINO: Marrying DINO with Grounded Pre-Training", 2023; the network is that of
transformers.
"""

from __future__ import annotations

import logging

import torch

from i2v3d.config.weights import WeightsRef
from i2v3d.errors import InputError, WeightsError
from i2v3d.images import Rgb
from i2v3d.models.weights import load_network, resolve

log = logging.getLogger(__name__)

Box = tuple[float, float, float, float]
SURE = 0.25  # how sure the network must be, of 1, as its authors use it
MARGIN = 0.02  # of the photo's size, around the box


def text_box(ref: WeightsRef, rgb: Rgb, words: str, device: str) -> Box:
    """The box (left, top, right, bottom; fractions of the photo) of what `words` name, such as 'cat', the surest one.

    rgb: (H, W, 3). Raises WeightsError if the weights are missing, corrupt or of another architecture, InputError if
    the network sees no such thing.
    """
    from transformers import AutoTokenizer, GroundingDinoForObjectDetection, GroundingDinoImageProcessorPil

    network = load_network(GroundingDinoForObjectDetection, ref, None, device, torch.float32)
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolve(ref), local_files_only=True)
        processor = GroundingDinoImageProcessorPil.from_pretrained(resolve(ref), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"{ref.source} lacks its tokenizer or preprocessor ({first}); fetch them too"
        ) from error
    text = tokenizer(
        [f"{words.strip().strip('.').lower()}."], return_tensors="pt"
    )  # it was trained with a full stop
    picture = processor(images=rgb, return_tensors="pt")
    with torch.no_grad():
        found = network(**{name: values.to(device) for name, values in {**picture, **text}.items()})
    scores = found.logits[0].sigmoid().amax(dim=-1).float().cpu()
    best = int(scores.argmax())
    if float(scores[best]) < SURE:
        raise InputError(
            f"Grounding DINO sees no {words!r} on the photo (at most {float(scores[best]):.2f} sure, expected {SURE}); "
            "give scene.segment.box, another scene.segment.words or scene.class_name, or a mask"
        )
    x, y, width, height = found.pred_boxes[0, best].float().cpu().tolist()
    box = (x - width / 2 - MARGIN, y - height / 2 - MARGIN, x + width / 2 + MARGIN, y + height / 2 + MARGIN)
    left, top, right, bottom = (min(max(value, 0.0), 1.0) for value in box)
    log.info(
        "Grounding DINO is %.2f sure of %r at %.2f, %.2f, %.2f, %.2f",
        scores[best],
        words,
        left,
        top,
        right,
        bottom,
    )
    return left, top, right, bottom
