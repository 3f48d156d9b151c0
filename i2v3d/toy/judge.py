"""The judges of toy scenes: the world's own estimator for depth, mask and identity, published networks for the rest."""

from __future__ import annotations

from torch import Tensor

from i2v3d.config.evaluate import EstimatorsConfig
from i2v3d.config.weights import WeightsRef
from i2v3d.models.judges import DEPTH_SCORES, IDENTITY_SCORES, MASK_THRESHOLD, Judges, add_for_any_scene
from i2v3d.models.weights import resolve
from i2v3d.toy.estimator import ToyEstimator


def load_toy_judges(cfg: EstimatorsConfig, *, device: str) -> Judges:
    """Everything that the local weights allow for a toy scene. Raises WeightsError as `load_judges` of photos."""
    judges = Judges()
    judges.add((*DEPTH_SCORES, "mask_iou", *IDENTITY_SCORES), cfg.toy, lambda: _toy(judges, cfg.toy, device))
    add_for_any_scene(judges, cfg, device)
    return judges


def _toy(judges: Judges, ref: WeightsRef, device: str) -> None:
    estimator = ToyEstimator.load(resolve(ref), device)

    def embedding(pictures: Tensor, _: Tensor) -> Tensor:
        # By its own soft masks, as it was trained; the ones given are the same, made hard.
        seen = pictures.to(device)
        return estimator.embedding(seen, estimator.mask(seen)).cpu()

    judges.depth_m = lambda pictures: estimator.depth(pictures.to(device))[:, 0].cpu()
    judges.mask = lambda pictures: (estimator.mask(pictures.to(device))[:, 0] > MASK_THRESHOLD).cpu()
    judges.embeddings["identity"] = embedding
