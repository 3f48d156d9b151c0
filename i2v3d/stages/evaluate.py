"""Stage evaluate: scores of the video, its keyframes and the coarse render, and of the true video beside them."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2v3d.artifacts.coarse import CoarseShot, read_coarse_shot
from i2v3d.artifacts.folders import frame_name, keyframe_numbers
from i2v3d.artifacts.metrics_file import write_metrics
from i2v3d.artifacts.pictures import read_pictures
from i2v3d.artifacts.scene_folder import MASK, PHOTO, SPEC, SceneFolder
from i2v3d.artifacts.tensors import save_tensors
from i2v3d.config.evaluate import EvaluateConfig
from i2v3d.config.stages import EvaluateStage
from i2v3d.errors import ArtifactError
from i2v3d.figures.scores import draw_curves
from i2v3d.metrics import scoring
from i2v3d.metrics.catalogue import SCORES
from i2v3d.metrics.fidelity import psnr
from i2v3d.metrics.scoring import ClipScores
from i2v3d.models.judges import Judges, load_judges
from i2v3d.stages.context import StageContext
from i2v3d.toy.judge import load_toy_judges

log = logging.getLogger(__name__)
_LOST = dict.fromkeys(
    ("camera_rotation_deg", "camera_position_m"), "too few background points could be followed"
) | dict.fromkeys(("identity", "clip_i", "dino"), "the object was found in no frame")
VIDEO, KEYFRAMES, COARSE, TRUTH = "video", "keyframes", "coarse", "truth"


@dataclass(frozen=True)
class Known:
    """What a shot is judged by. truth: the true pictures (T, 3, H, W), None where nobody knows them. photo
    (1, 3, H, W) and photo_mask (1, H, W): the input. shown (T, H, W): what the photo shows of every frame, None where
    nobody knows. keyframes: frame numbers from 1."""

    control: CoarseShot
    truth: Tensor | None
    shown: Tensor | None
    photo: Tensor
    photo_mask: Tensor
    keyframes: list[int]

    @property
    def seams(self) -> list[int]:
        """The frames at which a segment ends and the next one takes over."""
        return self.keyframes[1:-1]


def evaluate_video(cfg: EvaluateStage, inputs: Mapping[str, Path], out: Path, ctx: StageContext) -> None:
    """Writes metrics.json (one value a score), metrics.csv (a row a frame), curves.png and embeddings.safetensors.

    inputs: 'scene', 'render', 'assemble' and, where the variant makes them, 'keyframes'. Judged are the video, the
    keyframes as they were generated, the coarse render and, where the scene has it, the true video, all by the same
    estimators. Raises ArtifactError if frames are missing or differ in size.
    """
    scene = SceneFolder(inputs["scene"])
    scene.require(SPEC, PHOTO, MASK)
    spec = scene.spec()
    known = _read_known(inputs, keyframe_numbers(spec.frames, cfg.segment_frames))
    if "toy" in spec.notes:
        judges = load_toy_judges(cfg.evaluate.estimators, device=ctx.device)
    else:
        class_name = str(spec.notes.get("class_name", spec.name))
        judges = load_judges(cfg.evaluate.estimators, class_name=class_name, device=ctx.device)
    scores = _score_all(cfg.evaluate, known, inputs, judges, ctx)
    write_rows(out / "metrics.csv", scores, known)
    report = {"fps": spec.fps, **_report(scores, known, judges)}
    write_metrics(out, report)
    vectors = {f"{who}/{name}": v for who, s in scores.items() for name, v in s.embeddings.items()}
    save_tensors(out / "embeddings.safetensors", vectors)
    draw_curves(
        {who: _lists(s) for who, s in scores.items() if who != KEYFRAMES}, known.keyframes, out / "curves.png"
    )
    _track(scores, ctx, out)
    log.info("%s", _headline(report["scores"]))


def _read_known(inputs: Mapping[str, Path], keyframes: list[int]) -> Known:
    frames = keyframes[-1]
    control = read_coarse_shot(inputs["render"], frames)
    scene = SceneFolder(inputs["scene"])
    truth, folder = None, scene.true_photos
    if folder is not None:
        truth = read_pictures([folder / frame_name(n) for n in range(1, frames + 1)])
        if truth.shape != control.rgb.shape:
            raise ArtifactError(f"{folder} holds {tuple(truth.shape)}, the render {tuple(control.rgb.shape)}")
    motion = control.motion() if truth is not None else None
    return Known(
        control=control,
        truth=truth,
        shown=None if motion is None else motion.first_shows(),
        photo=read_pictures([scene.photo_file]),
        photo_mask=torch.from_numpy(scene.mask())[None],
        keyframes=keyframes,
    )


def _score_all(
    cfg: EvaluateConfig, known: Known, inputs: Mapping[str, Path], judges: Judges, ctx: StageContext
) -> dict[str, ClipScores]:
    frames = len(known.control.rgb)
    shown = inputs["assemble"] / "frames"
    clips = {VIDEO: read_pictures([shown / frame_name(n) for n in range(1, frames + 1)])}
    if "keyframes" in inputs:
        clips[KEYFRAMES] = read_pictures([inputs["keyframes"] / frame_name(n) for n in known.keyframes])
    clips[COARSE] = known.control.rgb
    if known.truth is not None:
        clips[TRUTH] = known.truth
    scores = {
        who: score_clip(cfg, who, pictures, known, judges)
        for who, pictures in ctx.track(clips.items(), desc="evaluate", unit="clip", total=len(clips))
    }
    if KEYFRAMES in clips:
        hit = clips[VIDEO][[n - 1 for n in known.keyframes]]
        scores[VIDEO].whole["keyframe_psnr"] = float(psnr(hit, clips[KEYFRAMES]).mean())
    return scores


def score_clip(cfg: EvaluateConfig, who: str, pictures: Tensor, known: Known, judges: Judges) -> ClipScores:
    """All scores of one clip. Keyframes are judged one by one, everything else in time, too."""
    at = [n - 1 for n in known.keyframes] if who == KEYFRAMES else list(range(len(pictures)))
    control = known.control
    part = CoarseShot(
        control.rgb[at],
        control.depth_m[at],
        control.foreground[at],
        None,
        control.lenses[at],
        control.poses[at],
    )
    scores = ClipScores()
    if known.truth is not None and who != TRUTH:
        shown = None if known.shown is None else known.shown[at]
        found, skipped = scoring.against_truth(pictures, known.truth[at], part.foreground, shown, judges)
        scores.frames |= found
        judges.skipped |= skipped
    scores.frames |= scoring.against_control(pictures, part, judges, cfg.far_m)
    found, scores.embeddings = scoring.identities(
        pictures, part.foreground, known.photo, known.photo_mask, judges
    )
    scores.frames |= found
    if who != KEYFRAMES and len(pictures) > 1:
        moving, scores.whole = scoring.in_time(pictures, control, known.seams)
        scores.frames |= moving
        scores.whole |= scoring.whole_identity(scores.embeddings, _photo_embedding(known, judges))
    return scores


def _photo_embedding(known: Known, judges: Judges) -> Tensor:
    """The object of the photo, (1, D), as `identities` sees it; (0, 0) where there is none."""
    embed = judges.embeddings.get("identity")
    mask = known.photo_mask if judges.mask is None else judges.mask(known.photo)
    return torch.zeros(0, 0) if embed is None or not mask.any() else embed(known.photo, mask)


def write_rows(path: Path, scores: Mapping[str, ClipScores], known: Known) -> None:
    """metrics.csv: who is judged, the frame, whether it is a keyframe, and its scores; empty where it has none."""
    names = [name for name in SCORES if any(name in s.frames for s in scores.values())]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "frame", "keyframe", *names])
        for who, clip in scores.items():
            count = len(next(iter(clip.frames.values()))) if clip.frames else 0
            numbers = known.keyframes if who == KEYFRAMES else range(1, count + 1)
            for at, number in enumerate(numbers):
                values = [_cell(clip.frames[name][at]) if name in clip.frames else "" for name in names]
                writer.writerow([who, number, int(number in known.keyframes), *values])


def _cell(value: Tensor) -> str:
    number = float(value)
    return "" if math.isnan(number) else f"{number:.6g}"


def _report(scores: Mapping[str, ClipScores], known: Known, judges: Judges) -> dict[str, Any]:
    summaries = {who: clip.summary() for who, clip in scores.items()}
    lost = {
        name: _LOST.get(name, "no frame could be judged")
        for name, value in summaries[VIDEO].items()
        if value is None and name not in judges.skipped
    }
    if known.truth is None:
        lost |= {
            name: "the scene has no known truth" for name, score in SCORES.items() if score.group == "truth"
        }
    if not known.seams:
        lost |= dict.fromkeys(("seam_jump", "seam_jump_warped"), "the shot has one segment")
    if known.control.flow_px is None:
        flows = ("warping_error", "flicker", "psnr_shown", "psnr_new")
        lost |= dict.fromkeys(flows, "the renders have no flow")
    return {
        "frames": len(known.control.rgb),
        "keyframes": known.keyframes,
        "seams": known.seams,
        "scores": summaries,
        "estimators": judges.names,
        "skipped": {**judges.skipped, **lost},
    }


def _lists(scores: ClipScores) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in scores.frames.items()}


def _track(scores: Mapping[str, ClipScores], ctx: StageContext, out: Path) -> None:
    """Scalars per frame, then each clip's own values, then the curves."""
    for at in range(len(next(iter(scores[VIDEO].frames.values())))):
        row = {f"frame/{name}": float(values[at]) for name, values in scores[VIDEO].frames.items()}
        ctx.log_metrics({name: value for name, value in row.items() if not math.isnan(value)}, step=at + 1)
    for who, clip in scores.items():
        found = {f"{who}/{name}": value for name, value in clip.summary().items() if value is not None}
        ctx.log_metrics(found)
    ctx.log_media("curves", out / "curves.png")


def _headline(scores: Mapping[str, Mapping[str, float | None]]) -> str:
    parts = []
    for name in ("psnr", "ssim", "sharpness_fg", "mask_iou", "identity", "warping_error", "seam_jump"):
        values = [f"{who} {s[name]:.4g}" for who, s in scores.items() if s.get(name) is not None]
        if values:
            parts.append(f"{name}: {', '.join(values)}")
    return "; ".join(parts)
