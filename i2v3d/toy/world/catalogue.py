"""What the toy world is made of, by name: objects, colours, patterns, grounds and skies.

Colours are linear-light albedos in [0, 1]; the words double as the vocabulary of the miniature tokenizer.
"""

from __future__ import annotations

from typing import NamedTuple

Rgb = tuple[float, float, float]

SHAPES: tuple[str, ...] = (
    "car", "rocket", "mushroom", "robot", "duck", "house", "tree", "cup", "snowman",
    "chair", "plane", "boat", "dog", "cactus", "lamp", "train", "windmill", "castle",
)  # fmt: skip

COLOURS: dict[str, Rgb] = {
    "red": (0.66, 0.04, 0.04),
    "orange": (0.85, 0.30, 0.03),
    "yellow": (0.84, 0.62, 0.05),
    "green": (0.06, 0.40, 0.08),
    "teal": (0.02, 0.40, 0.42),
    "blue": (0.04, 0.13, 0.62),
    "purple": (0.28, 0.06, 0.48),
    "pink": (0.86, 0.28, 0.44),
    "white": (0.80, 0.80, 0.78),
    "black": (0.03, 0.03, 0.035),
    "brown": (0.26, 0.12, 0.05),
    "gray": (0.30, 0.31, 0.33),
}

PATTERNS: tuple[str, ...] = ("plain", "striped", "checkered", "dotted")


class Ground(NamedTuple):
    """A ground: the words of the caption, and the two albedos its texture mixes."""

    words: str
    first: Rgb
    second: Rgb


GROUNDS: tuple[Ground, ...] = (
    Ground("wooden floor", (0.36, 0.19, 0.08), (0.56, 0.34, 0.17)),
    Ground("grass", (0.09, 0.25, 0.04), (0.22, 0.42, 0.08)),
    Ground("tiled floor", (0.70, 0.70, 0.69), (0.20, 0.24, 0.30)),
    Ground("sand", (0.60, 0.45, 0.25), (0.76, 0.62, 0.40)),
    Ground("snow", (0.72, 0.78, 0.86), (0.86, 0.88, 0.92)),
    Ground("road", (0.12, 0.12, 0.13), (0.76, 0.74, 0.64)),
    Ground("carpet", (0.40, 0.08, 0.09), (0.56, 0.40, 0.20)),
)


class Sky(NamedTuple):
    """A sky: caption words, zenith and horizon radiance, cloud radiance (None: clear), sun radiance."""

    words: str
    zenith: Rgb
    horizon: Rgb
    cloud: Rgb | None
    sun: Rgb


SKIES: tuple[Sky, ...] = (
    Sky("blue sky", (0.10, 0.26, 0.66), (0.52, 0.68, 0.84), None, (1.36, 1.28, 1.10)),
    Sky("cloudy sky", (0.14, 0.30, 0.62), (0.55, 0.64, 0.74), (0.84, 0.86, 0.88), (1.20, 1.15, 1.06)),
    Sky("sunset sky", (0.26, 0.16, 0.42), (0.92, 0.42, 0.16), (0.90, 0.35, 0.28), (1.42, 0.86, 0.46)),
    Sky("night sky", (0.012, 0.018, 0.07), (0.05, 0.07, 0.18), None, (0.46, 0.54, 0.84)),
    Sky("studio backdrop", (0.42, 0.42, 0.43), (0.62, 0.62, 0.63), None, (1.15, 1.13, 1.10)),
    Sky("pink backdrop", (0.66, 0.30, 0.42), (0.80, 0.48, 0.56), None, (1.15, 1.10, 1.07)),
    Sky("mint backdrop", (0.22, 0.52, 0.44), (0.42, 0.70, 0.60), None, (1.15, 1.13, 1.05)),
)

SUBJECT = "sks"
_GRAMMAR = (
    "a",
    "photo",
    "coarse",
    "render",
    "of",
    "with",
    "and",
    "parts",
    "on",
    "under",
    "the",
    "in",
    SUBJECT,
)


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption of the toy world can hold, sorted, plus the LoRA subject token."""
    words = {*_GRAMMAR, *SHAPES, *COLOURS, *PATTERNS}
    for phrase in (*(ground.words for ground in GROUNDS), *(sky.words for sky in SKIES)):
        words.update(phrase.split())
    return tuple(sorted(words))
