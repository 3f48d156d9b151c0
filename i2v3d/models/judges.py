"""The networks that judge pictures for the evaluation: those that are there, and why the others are not.

Photos are judged by published networks through transformers; a world of its own may bring its own judges and add what
judges pictures of any scene. Missing weights are no error: what they would have scored is left out, and said so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from i2v3d.config.evaluate import EstimatorsConfig
from i2v3d.config.weights import WeightsRef
from i2v3d.errors import WeightsError
from i2v3d.models.lpips import Lpips
from i2v3d.models.object_crops import mask_boxes, object_crops
from i2v3d.models.weights import load_network, resolve

log = logging.getLogger(__name__)

Pictures = Callable[[Tensor], Tensor]
Embedding = Callable[[Tensor, Tensor], Tensor]
DEPTH_SCORES = ("depth_si_rmse", "depth_si_rmse_fg")
IDENTITY_SCORES = ("identity", "subject_consistency", "i2v_subject")
MASK_THRESHOLD = 0.5


@dataclass
class Judges:
    """What pictures (T, 3, H, W) in [0, 1] can be asked.

    depth_m: -> (T, H, W) planar depth, up to a factor. disparity: -> (T, H, W), up to a factor and a shift.
    mask: -> (T, H, W) bool, where the object is. embeddings: by the score's name, with masks (T, H, W) bool ->
    (T, D). distance: to the truth -> (T,). names: score -> the network that it depends on. skipped: score -> why
    it is left out.
    """

    depth_m: Pictures | None = None
    disparity: Pictures | None = None
    mask: Pictures | None = None
    embeddings: dict[str, Embedding] = field(default_factory=dict)
    distance: Callable[[Tensor, Tensor], Tensor] | None = None
    names: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, scores: tuple[str, ...], ref: WeightsRef, load: Callable[[], None]) -> None:
        """Loads one network and names it for its scores, or notes that it is missing.

        Raises WeightsError for weights that are there but broken or of another architecture.
        """
        try:
            resolve(ref)
        except WeightsError as error:
            log.info("without %s: %s", ", ".join(scores), error)
            self.skipped |= dict.fromkeys(scores, str(error))
            return
        load()
        self.names |= dict.fromkeys(scores, ref.source)


def load_judges(cfg: EstimatorsConfig, *, class_name: str, device: str) -> Judges:
    """Everything that the local weights allow for scenes of photos. class_name: what their object is called.

    Raises WeightsError for weights that are there but cannot be used.
    """
    judges = Judges()
    judges.skipped |= dict.fromkeys(IDENTITY_SCORES, "the toy world's estimator knows toy scenes only")
    judges.add(DEPTH_SCORES, cfg.depth, lambda: _depth(judges, cfg.depth, device))
    judges.add(("mask_iou",), cfg.mask, lambda: _mask(judges, cfg.mask, class_name, device))
    add_for_any_scene(judges, cfg, device)
    return judges


def add_for_any_scene(judges: Judges, cfg: EstimatorsConfig, device: str) -> None:
    """Adds the networks that judge toys and photos alike. Raises WeightsError as `load_judges`."""
    judges.add(("clip_i",), cfg.clip, lambda: _embedding(judges, "clip_i", cfg.clip, device))
    judges.add(("dino",), cfg.dino, lambda: _embedding(judges, "dino", cfg.dino, device))
    judges.add(("lpips",), cfg.lpips, lambda: _lpips(judges, cfg.lpips))


def _depth(judges: Judges, ref: WeightsRef, device: str) -> None:
    """A depth network of transformers; a relative one gives disparity up to a factor and a shift."""
    from transformers import AutoModelForDepthEstimation

    network = load_network(AutoModelForDepthEstimation, ref, None, device, torch.float32)
    prepare = Preprocessor(resolve(ref))

    @torch.no_grad()
    def estimate(pictures: Tensor) -> Tensor:
        parts = [network(prepare(picture[None]).to(device)).predicted_depth for picture in pictures]
        small = torch.cat(parts)[:, None].float()
        size = tuple(pictures.shape[-2:])
        return functional.interpolate(small, size, mode="bilinear", align_corners=False)[:, 0].cpu()

    if getattr(network.config, "depth_estimation_type", "relative") == "metric":
        judges.depth_m = estimate
    else:
        judges.disparity = estimate


def _mask(judges: Judges, ref: WeightsRef, class_name: str, device: str) -> None:
    """CLIPSeg, asked for the object by its name."""
    from transformers import CLIPSegForImageSegmentation, CLIPTokenizerFast

    folder = resolve(ref)
    network = load_network(CLIPSegForImageSegmentation, ref, None, device, torch.float32)
    tokens = CLIPTokenizerFast.from_pretrained(folder, local_files_only=True)(
        [class_name], return_tensors="pt"
    )
    prepare = Preprocessor(folder)
    side = int(network.config.vision_config.image_size)

    @torch.no_grad()
    def segment(pictures: Tensor) -> Tensor:
        asked = {name: value.to(device) for name, value in tokens.items()}
        parts = [
            network(pixel_values=prepare(picture[None]).to(device), **asked).logits.reshape(1, 1, side, side)
            for picture in pictures
        ]
        size = tuple(pictures.shape[-2:])
        large = functional.interpolate(torch.cat(parts).float(), size, mode="bilinear", align_corners=False)
        return (large[:, 0].sigmoid() > MASK_THRESHOLD).cpu()

    judges.mask = segment


def _embedding(judges: Judges, score: str, ref: WeightsRef, device: str) -> None:
    """The image side of CLIP, or DINO: the projected or the class token's features of object crops."""
    from transformers import AutoConfig, AutoModel, CLIPVisionModelWithProjection

    folder = resolve(ref)
    clip = AutoConfig.from_pretrained(folder, local_files_only=True).model_type.startswith("clip")
    network = load_network(
        CLIPVisionModelWithProjection if clip else AutoModel, ref, None, device, torch.float32
    )
    prepare = Preprocessor(folder)

    @torch.no_grad()
    def embed(pictures: Tensor, masks: Tensor) -> Tensor:
        inside = masks[:, None].float()
        crops = object_crops(pictures * 2 - 1, inside, mask_boxes(inside), prepare.height)
        out = network(prepare((crops + 1) / 2).to(device))
        return (out.image_embeds if clip else out.last_hidden_state[:, 0]).float().cpu()

    judges.embeddings[score] = embed


def _lpips(judges: Judges, ref: WeightsRef) -> None:
    judges.distance = Lpips.load(resolve(ref)).distance


class Preprocessor:
    """Resizes and normalises pictures as a network's preprocessor_config.json says.

    Differs from transformers' own in that nothing is cropped: the whole picture is judged.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "preprocessor_config.json"
        try:
            data = json.loads(path.read_text())
            size = data["size"]
            side = size if isinstance(size, int) else size.get("height") or size["shortest_edge"]
            self.height = int(side)
            self.width = int(size.get("width", side)) if isinstance(size, dict) else int(side)
            self.mean = torch.tensor(data["image_mean"]).view(1, 3, 1, 1)
            self.std = torch.tensor(data["image_std"]).view(1, 3, 1, 1)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{path} says no size, mean and deviation ({error}); restore it") from error

    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) in [0, 1] as the network takes them, (N, 3, height, width)."""
        size = (self.height, self.width)
        resized = functional.interpolate(
            pictures, size, mode="bicubic", align_corners=False, antialias=True
        ).clamp(0, 1)
        return (resized - self.mean) / self.std
