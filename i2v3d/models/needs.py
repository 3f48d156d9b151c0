"""Which files of which weights a configuration needs: what the loaders of `i2v3d.models` open, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from i2v3d.config.sections import build
from i2v3d.config.weights import WeightsRef

STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
ANY = "any network of transformers"
NETWORKS = {
    "UNet2DConditionModel": "diffusers",
    "UNetSpatioTemporalConditionModel": "diffusers",
    "AutoencoderKL": "diffusers",
    "AutoencoderKLTemporalDecoder": "diffusers",
    "ControlNetModel": "diffusers",
    "TemporalControlNet": "diffusers",
    "CLIPTextModel": "transformers",
    "CLIPTextModelWithProjection": "transformers",
    "CLIPVisionModelWithProjection": "transformers",
    "WanVACETransformer3DModel": "diffusers",
    "AutoencoderKLWan": "diffusers",
    "UMT5EncoderModel": "transformers",
    ANY: "transformers",
}
"""Class of a network -> the library that reads it, which names its files."""


@dataclass(frozen=True)
class Part:
    """A folder of weights. network: the class that reads it, None for plain files; files: besides config.json and
    weights; optional: files that are read if they are there."""

    folder: str
    network: str | None
    files: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def required(self, variant: str | None) -> tuple[tuple[str, ...], ...]:
        """For each thing that must be there, the patterns of names below the reference's folder that bring it."""
        wanted: list[tuple[str, ...]] = [(self._at(name),) for name in self.files]
        if self.network is not None:
            wanted += [(self._at("config.json"),), tuple(map(self._at, self.weight_files(variant)))]
        return tuple(wanted)

    def weight_files(self, variant: str | None) -> tuple[str, str]:
        """Patterns of the weights' own files in `folder`: one file, or several with their index beside them."""
        assert self.network is not None, "plain files have no weights"
        stem = STEMS[NETWORKS[self.network]] + (f".{variant}" if variant else "")
        return f"{stem}.safetensors", f"{stem}-?????-of-?????.safetensors"

    def patterns(self, variant: str | None) -> list[str]:
        """All patterns of names that are read, those of optional files included."""
        found = [pattern for wanted in self.required(variant) for pattern in wanted]
        if self.network is not None:
            stem = STEMS[NETWORKS[self.network]]
            found.append(self._at(f"{stem}.safetensors.index{f'.{variant}' if variant else ''}.json"))
        return found + [self._at(name) for name in self.optional]

    def _at(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name


@dataclass(frozen=True)
class Need:
    """Weights that a configuration names at `option` (dotted), and their parts that it reads."""

    option: str
    ref: WeightsRef
    parts: tuple[Part, ...]

    def patterns(self) -> list[str]:
        """Patterns of all files, by their names in the repository."""
        below = f"{self.ref.subfolder}/" if self.ref.subfolder else ""
        return [below + name for part in self.parts for name in part.patterns(self.ref.variant)]

    def lacking(self, names: Sequence[str]) -> list[str]:
        """What must be there and is not among `names`, as in the repository."""
        below = f"{self.ref.subfolder}/" if self.ref.subfolder else ""
        wanted = (any_of for part in self.parts for any_of in part.required(self.ref.variant))
        return [
            below + any_of[0]
            for any_of in wanted
            if not any(fnmatchcase(name, below + pattern) for name in names for pattern in any_of)
        ]


def _tokenizer(folder: str) -> Part:
    optional = ("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json")
    return Part(folder, None, ("vocab.json", "merges.txt"), optional)


PREPROCESSOR = ("preprocessor_config.json",)
SCHEDULER = Part("scheduler", None, ("scheduler_config.json",))
TEXT = (
    Part("text_encoder", "CLIPTextModel"),
    Part("text_encoder_2", "CLIPTextModelWithProjection"),
    _tokenizer("tokenizer"),
    _tokenizer("tokenizer_2"),
)
SDXL = (Part("unet", "UNet2DConditionModel"), *TEXT, SCHEDULER)
VAE = Part("vae", "AutoencoderKL")
SVD = (
    Part("unet", "UNetSpatioTemporalConditionModel"),
    Part("vae", "AutoencoderKLTemporalDecoder"),
    Part("image_encoder", "CLIPVisionModelWithProjection"),
    SCHEDULER,
    Part("feature_extractor", None, PREPROCESSOR),
)
WAN_VACE = (Part("transformer", "WanVACETransformer3DModel"), Part("vae", "AutoencoderKLWan"), SCHEDULER)
UMT5 = (
    Part("text_encoder", "UMT5EncoderModel"),
    Part("tokenizer", None, ("tokenizer.json", "tokenizer_config.json"), ("special_tokens_map.json",)),
)
INPAINTER = (*SDXL, VAE, Part("", None, ("model_index.json",)))
ESTIMATOR = (Part("", ANY, PREPROCESSOR),)
SEGMENTER = (Part("", ANY, (), PREPROCESSOR),)
CLIPSEG = (
    Part(
        "",
        ANY,
        (*PREPROCESSOR, "vocab.json", "merges.txt"),
        ("tokenizer.json", "tokenizer_config.json"),
    ),
)
DETECTOR = (
    Part(
        "",
        ANY,
        PREPROCESSOR,
        ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"),
    ),
)
VIDEO: dict[str, dict[str, tuple[Part, ...]]] = {
    "svd": {"models.video.base": SVD, "models.video.controlnet": (Part("", "TemporalControlNet"),)},
    "wan_vace": {"models.video.networks.base": WAN_VACE, "models.video.text.base": UMT5},
}
"""Family of a video model -> what it reads, at which option."""
JUDGES = {"depth": ESTIMATOR, "mask": CLIPSEG, "clip": ESTIMATOR, "dino": ESTIMATOR}


def model_needs(config: Mapping[str, Any]) -> list[Need]:
    """What the image and the video model of a composed configuration read."""
    own_vae = _at(config, "models.image.vae") is not None
    parts: dict[str, tuple[Part, ...]] = {
        "models.image.base": SDXL if own_vae else (*SDXL, VAE),
        **({"models.image.vae": (Part("", "AutoencoderKL"),)} if own_vae else {}),
        "models.image.controlnet": (Part("", "ControlNetModel"),),
        **VIDEO[_at(config, "models.video.family")],
    }
    return [_need(config, option, found) for option, found in parts.items()]


def scene_needs(config: Mapping[str, Any]) -> list[Need]:
    """What the making of a composed configuration's scene reads."""
    segments, masked = _at(config, "scene.segment.method"), _at(config, "scene.mask") is not None
    wanted = {
        "scene.segment.weights": (segments in ("sam2", "words") and not masked, SEGMENTER),
        "scene.segment.detector": (segments == "words" and not masked, DETECTOR),
        "scene.background.depth.weights": (
            _at(config, "scene.background.method") == "depth"
            and not _at(config, "scene.background.depth.file"),
            ESTIMATOR,
        ),
        "scene.inpaint.model.weights": (_at(config, "scene.inpaint.method") == "sdxl", INPAINTER),
    }
    return [_need(config, option, parts) for option, (asked, parts) in wanted.items() if asked]


def judge_needs(config: Mapping[str, Any]) -> list[Need]:
    """The published networks that score videos; none of them has to be there."""
    return [_need(config, f"evaluate.estimators.{name}", parts) for name, parts in JUDGES.items()]


def _need(config: Mapping[str, Any], option: str, parts: tuple[Part, ...]) -> Need:
    return Need(option, build(WeightsRef, _at(config, option), option), parts)


def _at(config: Mapping[str, Any], option: str) -> Any:
    """What stands at a dotted path; None if nothing does."""
    value: Any = config
    for name in option.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
