"""results/mini_report: what the miniature family reaches on held-out clips, in numbers and pictures."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from i2v3d.artifacts.folders import frame_name, list_frames
from i2v3d.artifacts.pictures import read_pictures
from i2v3d.benchmark.trials import Clip, Trial, clips_of, read_plan_file, trials_of
from i2v3d.config.sections import build
from i2v3d.config.weights import WeightsRef
from i2v3d.errors import ArtifactError
from i2v3d.metrics.identity import top1
from i2v3d.models.weights import resolve
from i2v3d.report.outcomes import Outcome, folder, read_outcome
from i2v3d.toy.estimator import ToyEstimator
from miniature.report_plan import ReportSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Findings:
    """Everything that the report says.

    metrics: the numbers of record. scenes: a row a clip with its own numbers. outcomes: method -> clip -> outcome.
    """

    settings: ReportSettings
    clips: list[Clip]
    metrics: dict[str, Any]
    scenes: list[dict[str, Any]]
    outcomes: dict[str, dict[int, Outcome]]
    turned: dict[int, Trial]
    probes: dict[int, dict[str, Path]]


def collect(plan_file: Path, cache: Path) -> Findings:
    """Reads the results of all jobs of a plan.

    Raises ArtifactError if one of them is not there, WeightsError if the plan's estimator is not.
    """
    data = read_plan_file(plan_file)
    reference = build(WeightsRef, data["estimator"], "evaluate.estimators.toy")
    estimator = ToyEstimator.load(resolve(reference))
    settings = build(ReportSettings, data["settings"], "report")
    clips = clips_of(data)
    outcomes: dict[str, dict[int, Outcome]] = {method: {} for method in data["methods"]}
    for trial in trials_of(data):
        outcome = read_outcome(cache, trial)
        if outcome.failure is not None:
            raise ArtifactError(f"clip {trial.clip}, {trial.method}: {outcome.failure}; run snakemake again")
        outcomes[trial.method][trial.clip] = outcome
    turned = {trial.clip: trial for trial in trials_of({"trials": data["turned"]})}
    probes = {
        int(clip): {stage: cache / stage / key for stage, key in keys.items()}
        for clip, keys in data["probes"].items()
    }
    scenes = [_scene_row(clip, settings, outcomes, probes[clip.index]) for clip in clips]
    identity = identities(cache, turned, clips, estimator, settings.gallery)
    for row, (found, _) in zip(scenes, identity, strict=True):
        row["identity_top1"] = found
    metrics = _metrics(settings, scenes, outcomes, identity)
    return Findings(settings, clips, metrics, scenes, outcomes, turned, probes)


def _scene_row(
    clip: Clip,
    settings: ReportSettings,
    outcomes: Mapping[str, Mapping[int, Outcome]],
    probes: Mapping[str, Path],
) -> dict[str, Any]:
    """The numbers of one clip."""
    full = outcomes[settings.full][clip.index]
    image = json.loads((probes["probe_image"] / "metrics.json").read_text())
    video = json.loads((probes["probe_video"] / "metrics.json").read_text())["psnr"]
    return {
        "scene": clip.index,
        "motion": clip.motion,
        "caption": clip.caption,
        **image,
        "keyframe_gain_db": keyframe_gain_db(full),
        "interpolation_gain_db": video["both"] - video["cross_fade"],
        "forward_only_gain_db": video["forward"] - video["cross_fade"],
        "interpolation_method_gain_db": video["method"] - video["cross_fade"],
        **{f"psnr_{name}": _psnr(outcomes[name][clip.index]) for name in (settings.full, *settings.rivals)},
    }


def keyframe_gain_db(outcome: Outcome) -> float:
    """PSNR of the keyframes minus that of the same frames of the coarse render; the first frame does not count.

    Raises ArtifactError if the variant has no keyframes.
    """
    made, coarse = outcome.frames("psnr", "keyframes"), outcome.frames("psnr", "coarse")
    later = [number for number in made if number > 1]
    if not later:
        raise ArtifactError(f"method {outcome.trial.method} has no keyframes after frame 1 to compare")
    return fmean(made[number] - coarse[number] for number in later)


def _psnr(outcome: Outcome) -> float:
    value = outcome.score("psnr")
    if value is None:
        raise ArtifactError(
            f"clip {outcome.trial.clip}, {outcome.trial.method} has no PSNR; re-run its evaluation"
        )
    return value


def identities(
    cache: Path, turned: Mapping[int, Trial], clips: Sequence[Clip], estimator: ToyEstimator, gallery: int
) -> list[tuple[bool, bool]]:
    """Of every clip, whether the object of its last, turned keyframe is nearest to its own true picture, among
    `gallery` objects (fewer if there are fewer clips); and the same of the true picture of that view.

    The gallery shows every object as the photo does; objects are cut out by estimated masks.
    """
    photos, keyframes, views = [], [], []
    for clip in clips:
        trial = turned[clip.index]
        last = frame_name(list_frames(folder(cache, trial, "keyframes"))[-1])
        scene = folder(cache, trial, "scene")
        photos.append(scene / "photo.png")
        keyframes.append(folder(cache, trial, "keyframes") / last)
        views.append(scene / "truth" / "photo" / last)
    known, made, true = (_embeddings(estimator, paths) for paths in (photos, keyframes, views))

    def nearest(vectors: Mapping[int, torch.Tensor], at: int) -> bool:
        others = [i for i in range(len(clips)) if i != at and i in known][: gallery - 1]
        if at not in vectors or at not in known or not others:
            return False  # no object was found where one should be
        rows = torch.stack([known[i] for i in (at, *others)])
        return bool(top1(vectors[at].expand(len(rows), -1), rows)[0])

    return [(nearest(made, at), nearest(true, at)) for at in range(len(clips))]


def _embeddings(estimator: ToyEstimator, paths: Sequence[Path]) -> dict[int, torch.Tensor]:
    """Place in `paths` -> (D,), of the pictures in which an object was found."""
    pictures = read_pictures(paths)
    masks = estimator.mask(pictures)
    seen = [at for at, mask in enumerate(masks) if bool((mask > 0.5).any())]
    if not seen:
        return {}
    return dict(zip(seen, estimator.embedding(pictures[seen], masks[seen]), strict=True))


def _metrics(
    settings: ReportSettings,
    scenes: Sequence[Mapping[str, Any]],
    outcomes: Mapping[str, Mapping[int, Outcome]],
    identity: Sequence[tuple[bool, bool]],
) -> dict[str, Any]:
    """The numbers of record: means over clips, and their medians where a clip has a number of its own."""
    values = {
        name: [row[name] for row in scenes]
        for name in (
            "vae_psnr",
            "vae_psnr_fg",
            "depth_mask_iou",
            "truth_mask_iou",
            "keyframe_gain_db",
            "interpolation_gain_db",
            "forward_only_gain_db",
            "interpolation_method_gain_db",
        )
    }
    full = fmean(row[f"psnr_{settings.full}"] for row in scenes)
    rivals = {name: fmean(row[f"psnr_{name}"] for row in scenes) for name in settings.rivals}
    best = max(rivals, key=lambda name: rivals[name])
    return {
        **{name: fmean(own) for name, own in values.items()},
        "identity_top1": fmean(own for own, _ in identity),
        "identity_top1_truth": fmean(ceiling for _, ceiling in identity),
        "identity_gallery": min(settings.gallery, len(scenes)),
        "pipeline_gain_db": full - rivals[best],
        "pipeline_best_rival": best,
        "pipeline_psnr": {settings.full: full, **rivals},
        "medians": {name: median(own) for name, own in values.items()},
        "n_scenes": len(scenes),
    }
