"""Whether the object stays itself: similarities of embeddings, which an estimator made of pictures or crops."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from i2v3d.errors import ShapeError
from i2v3d.geometry.checks import check_vectors


def similarity(embeddings: Tensor, reference: Tensor) -> Tensor:
    """(T,) cosine similarity of embeddings (T, D) to one reference (1, D). Raises ShapeError."""
    check_vectors(embeddings=embeddings, reference=reference)
    if len(reference) != 1:
        raise ShapeError(f"reference holds {len(reference)} vectors; compare with one picture")
    return functional.cosine_similarity(embeddings, reference)


def subject_consistency(embeddings: Tensor) -> float:
    """Mean over frames 2 ... T of half the similarity to the first frame and half that to the frame before.

    Raises ShapeError for fewer than 2 frames. Source: VBench, 'subject consistency' (there of DINO features).
    """
    check_vectors(embeddings=embeddings)
    if len(embeddings) < 2:
        raise ShapeError("embeddings hold one frame; consistency needs at least 2")
    first = functional.cosine_similarity(embeddings[1:], embeddings[:1]).clamp(min=0)
    before = functional.cosine_similarity(embeddings[1:], embeddings[:-1]).clamp(min=0)
    return float((first + before).mean() / 2)


def i2v_subject(embeddings: Tensor, photo: Tensor) -> float:
    """0.4 of the best similarity to the photo, 0.3 of the mean and 0.3 of the least between neighbours.

    embeddings (T, D) of the frames, photo (1, D). Raises ShapeError for fewer than 2 frames. Source: VBench-I2V,
    'i2v subject' (there of DINO features of whole frames).
    """
    if len(embeddings) < 2:
        raise ShapeError("embeddings hold one frame; consistency needs at least 2")
    to_photo = similarity(embeddings, photo).clamp(min=0)
    between = functional.cosine_similarity(embeddings[1:], embeddings[:-1]).clamp(min=0)
    return float(0.4 * to_photo.max() + 0.3 * between.mean() + 0.3 * between.min())


def top1(embeddings: Tensor, gallery: Tensor) -> Tensor:
    """(N,) bool: whether embedding n (N, D) is more similar to gallery n (N, D) than to every other one.

    Raises ShapeError if lengths differ or there is nothing to mix it up with.
    """
    check_vectors(embeddings=embeddings, gallery=gallery)
    if len(embeddings) != len(gallery) or len(gallery) < 2:
        raise ShapeError(
            f"{len(embeddings)} embeddings need as many gallery vectors, at least 2, not {len(gallery)}"
        )
    similarities = functional.normalize(embeddings, dim=1) @ functional.normalize(gallery, dim=1).T
    return similarities.argmax(dim=1) == torch.arange(len(gallery))
