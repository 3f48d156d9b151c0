"""Stage folders of a toy shot as the evaluation reads them, made in closed form without Blender or sampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from i2v3d.artifacts.folders import frame_name
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.config.evaluate import EvaluateConfig
from i2v3d.config.scene import SceneConfig, ToySceneConfig
from i2v3d.config.sections import build
from i2v3d.images import Rgb, read_rgb, write_mask, write_rgb
from i2v3d.stages.evaluate import EvaluateStage
from i2v3d.toy.estimator import estimator_network
from i2v3d.toy.passes import write_passes
from i2v3d.toy.scene import load_clip, truth, write_toy_scene, write_truth
from i2v3d.workflow.composition import compose_variants

CONF = Path(__file__).parents[2] / "conf"
FRAMES, SEGMENT_FRAMES = 5, 3
KEYFRAMES = (1, 3, 5)


def random_estimator(folder: Path) -> Path:
    """An untrained estimator as the trained one lies on disk."""
    torch.manual_seed(0)
    estimator_network().save_pretrained(folder, safe_serialization=True)
    return folder


def shot_config(estimator: Path, index: int = 38) -> tuple[ToySceneConfig, EvaluateStage]:
    """Scene and evaluation, composed as users compose them."""
    words = [
        "scene=toy",
        f"scene.index={index}",
        f"scene.frames={FRAMES}",
        "scene.width=96",
        "scene.height=64",
        "scene.samples=1",
    ]
    words += [f"evaluate.estimators.toy.source={estimator}"]
    (variant,) = compose_variants(CONF, words)
    scene = build(SceneConfig, variant.config["scene"], "scene")
    assert isinstance(scene, ToySceneConfig)
    evaluate = build(EvaluateConfig, variant.config["evaluate"], "evaluate")
    return scene, EvaluateStage(evaluate=evaluate, segment_frames=SEGMENT_FRAMES)


def write_scene_and_render(scene: ToySceneConfig, folder: Path) -> dict[str, Path]:
    """The folders 'scene' (with its truth) and 'render'."""
    folders = {name: folder / name for name in ("scene", "render")}
    folders["scene"].mkdir(parents=True)
    clip = load_clip(scene)
    known = truth(clip, scene.width, scene.height, scene.samples)
    write_truth(SceneFolder(folders["scene"]), known)
    write_rgb(folders["scene"] / "photo.png", known.photo[0])
    write_mask(folders["scene"] / "mask.png", known.mask[0])
    write_toy_scene(scene, clip, folders["scene"])
    write_passes(clip, scene.width, scene.height, scene.samples, folders["render"])
    return folders


def write_video(frames: NDArray[np.uint8], folder: Path) -> dict[str, Path]:
    """The folders 'keyframes' and 'assemble' of a video (T, H, W, 3)."""
    folders = {"keyframes": folder / "keyframes", "assemble": folder / "assemble"}
    (folders["assemble"] / "frames").mkdir(parents=True)
    folders["keyframes"].mkdir()
    for number, frame in enumerate(frames, start=1):
        write_rgb(folders["assemble"] / "frames" / frame_name(number), frame)
        if number in KEYFRAMES:
            write_rgb(folders["keyframes"] / frame_name(number), frame)
    return folders


def read_frames(folder: Path) -> Rgb:
    """All frames of a folder, (T, H, W, 3)."""
    return np.stack([read_rgb(folder / frame_name(n)) for n in range(1, FRAMES + 1)])
