"""A scene survives its file; a file that is no scene is refused with the first thing that is wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2v3d.artifacts.metrics_file import read_metrics, write_metrics
from i2v3d.artifacts.scene_folder import SceneFolder
from i2v3d.artifacts.scene_spec import (
    IDENTITY,
    ActionSpec,
    CameraKey,
    Lighting,
    ObjectSpec,
    SceneSpec,
    ShapeKey,
    TransformKey,
    VisibilityKey,
)
from i2v3d.errors import ArtifactError
from i2v3d.images import read_depth, read_mask, read_rgb


def scene() -> SceneSpec:
    """A scene with everything that one can have."""
    item = ObjectSpec(
        "cup",
        "foreground",
        "meshes/cup.glb",
        (0.0, 1.0, 2.5),
        (TransformKey(1, (0.0, 0.0, 0.1), (0.0, 90.0, 0.0), (1.0, 1.0, 2.0), "BEZIER"),),
        IDENTITY,
        (ActionSpec("walk", 1, 1.0, 2.0),),
        (ShapeKey("puffed", 3, 0.5, "LINEAR"),),
        (VisibilityKey(2, True),),
    )
    sun = Lighting("lit", (0.0, 0.5, 1.0), 0.5, 3.0, (1.0, 1.0, 0.9), 0.3, (0.2, 0.2, 0.3))
    camera = (CameraKey(1, IDENTITY, 500.0, "LINEAR"),)
    notes: dict[str, Any] = {"class_name": "cup", "plate_padding_px": [8, 4], "seen": None}
    return SceneSpec("demo", 64, 48, 9, 8, 32.0, 24.0, camera, (item,), 1, notes, 5, sun)


def test_a_scene_comes_back_as_it_was(tmp_path: Path) -> None:
    SceneFolder(tmp_path).write_spec(scene())
    read = SceneFolder(tmp_path).spec()
    assert read == scene()
    assert type(read.objects[0].pivot_m) is tuple and type(read.camera[0].world_from_camera[0]) is tuple


def test_what_older_files_lack_is_as_it_was_then(tmp_path: Path) -> None:
    data = dataclasses.asdict(scene())
    for name in ("start_frame", "lighting", "notes"):
        del data[name]
    (tmp_path / "scene.json").write_text(json.dumps(data))
    read = SceneSpec.load(tmp_path / "scene.json")
    assert (read.start_frame, read.lighting.style, read.notes) == (1, "flat", {})


def put(*place: Any) -> Callable[[dict[str, Any]], None]:
    """Sets the value at a place (all but the last word)."""

    def change(data: Any) -> None:
        *path, last, value = place
        for word in path:
            data = data[word]
        data[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("schema", 2), "has schema 2, expected 1"),
        (put("width", "64"), "width: "),
        (put("wide", 64), "wide: "),
        (put("camera", 0, "world_from_camera", 3, 3, float("nan")), r"camera\.0\.world_from_camera\.3\.3: .*finite"),
        (put("camera", 0, "focal_px", float("inf")), r"camera\.0\.focal_px: .*finite"),
        (put("objects", 0, "role", "hero"), r"objects\.0\.role: "),
        (put("objects", 0, "keys", 0, "scale", [1, 1]), r"objects\.0\.keys\.0\.scale"),
        (put("lighting", "style", "dark"), r"lighting\.style: "),
    ],
)  # fmt: skip
def test_the_first_wrong_value_is_named(change, message: str, tmp_path: Path) -> None:
    path = tmp_path / "scene.json"
    data = json.loads(json.dumps(dataclasses.asdict(scene())))
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match=rf"scene\.json .*{message}") as raised:
        SceneSpec.load(path)
    assert "\n" not in str(raised.value)


def test_no_file_and_no_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"scene\.json cannot be read"):
        SceneSpec.load(tmp_path / "scene.json")
    (tmp_path / "scene.json").write_text("{")
    with pytest.raises(ArtifactError, match="is not a scene file"):
        SceneSpec.load(tmp_path / "scene.json")
    endless = dataclasses.replace(scene(), cx_px=float("inf"))
    with pytest.raises(ArtifactError, match="not finite"):
        endless.save(tmp_path / "scene.json")


def test_pictures_and_truth_of_a_scene_folder(tmp_path: Path) -> None:
    folder, rng = SceneFolder(tmp_path), np.random.default_rng(0)
    photo, plate = (rng.integers(0, 256, (size, 6, 3), dtype=np.uint8) for size in (4, 8))
    mask, depth_m = rng.random((4, 6)) > 0.5, rng.random((4, 6)).astype(np.float32)
    with pytest.raises(ArtifactError, match=r"lacks photo\.png"):
        folder.require("photo.png")
    folder.write_pictures(photo, mask, plate, plate)
    read = (folder.photo(), folder.mask(), folder.plate(), folder.sheet())
    assert all(np.array_equal(a, b) for a, b in zip(read, (photo, mask, plate, plate), strict=True))
    assert folder.true_photos is None
    folder.write_truth(2, photo, mask, depth_m)
    assert folder.true_photos == tmp_path / "truth" / "photo"
    assert np.array_equal(read_rgb(tmp_path / "truth/photo/0002.png"), photo)
    assert np.array_equal(read_mask(tmp_path / "truth/mask/0002.png"), mask)
    assert np.array_equal(read_depth(tmp_path / "truth/depth/0002.exr"), depth_m)


def test_metrics_come_back_and_what_is_none_is_refused(tmp_path: Path) -> None:
    write_metrics(tmp_path, {"psnr": 30.5, "range_m": (1.0, 2.0), "seams": []})
    assert read_metrics(tmp_path) == {"psnr": 30.5, "range_m": [1.0, 2.0], "seams": []}
    with pytest.raises(ArtifactError, match=r"metrics\.json would hold a number that is not finite"):
        write_metrics(tmp_path, {"psnr": float("nan")})
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(ArtifactError, match="holds no metrics"):
        read_metrics(tmp_path)
