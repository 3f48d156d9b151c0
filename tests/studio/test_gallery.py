"""What the studio finds in results/, and the films that it makes of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from i2v3d.artifacts.render_folder import CoarseFrame, RenderFolder
from i2v3d.artifacts.rendered_cameras import RenderedCameras
from i2v3d.errors import ConfigError
from i2v3d.images import read_video, write_video
from i2v3d.studio import films, gallery
from i2v3d.studio.place import Place


def _variant(here: Path, name: str, age_s: float, *files: str) -> Path:
    folder = here / "results" / name
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (1e9 - age_s, 1e9 - age_s))
    return folder


def test_runs_are_found_the_latest_first(tmp_path: Path) -> None:
    _variant(tmp_path, "old/base", 100, "video.mp4", "coarse.mp4", "contact_sheet.png", "keyframes/0001.png",
             *(f"frames/000{n}.png" for n in range(1, 6)))  # fmt: skip
    _variant(tmp_path, "new/warm", 1, "preview/coarse.mp4", "preview/sheet.png")
    for no_variant in (".jobs/studio", "new/a'b"):
        _variant(tmp_path, no_variant, 1, "video.mp4")
    new, old = gallery.entries(tmp_path)
    assert (new.run, new.variant, new.finished, new.picture) == (
        "new",
        "warm",
        False,
        "new/warm/preview/sheet.png",
    )
    assert new.film == "new/warm/preview/coarse.mp4"
    assert old.finished and (old.film, old.frame) == ("old/base/video.mp4", "old/base/frames/0003.png")
    assert gallery.keyframes(tmp_path, old) == [(1, "old/base/keyframes/0001.png")]


def test_the_films_of_a_variant_are_found_and_those_of_its_passes_made_once(tmp_path: Path) -> None:
    folder, place = tmp_path / "results/run/base", Place(tmp_path, tmp_path / "conf")
    render = tmp_path / "results/.cache/render/0123456789ab"
    for made in (folder / "stages", render):
        made.mkdir(parents=True)
    (folder / "stages/render").symlink_to(render)
    depth_m = np.full((16, 24), 2.0, np.float32)
    mask = np.zeros((16, 24), bool)
    for frame in (1, 2):
        depth_m[:, :12], mask[4 * frame :] = frame, True
        RenderFolder(render).write(
            frame, CoarseFrame(np.zeros((16, 24, 3), np.uint8), depth_m, mask, np.ones_like(mask))
        )
    view = np.repeat(np.eye(3)[None], 2, axis=0)
    cameras = RenderedCameras(24, 16, (1, 2), view, np.repeat(np.eye(4)[None], 2, axis=0), (1.0, 2.0))
    RenderFolder(render).write_cameras(cameras)
    write_video(folder / "coarse.mp4", np.zeros((2, 16, 24, 3), np.uint8), 8, 20)
    found = films.of_variant(place, "run", "base")
    assert [(film.label, film.width, film.frames, film.fps) for film in found] == [
        (name, 24, 2, 8.0) for name in ("coarse", "depth", "mask")
    ]
    shown = read_video(films.pass_film(place, "0123456789ab", "mask"))
    assert np.abs(shown[0, ..., 0].astype(int) - 255 * (np.arange(16) >= 4)[:, None]).max() < 40
    near = read_video(films.pass_film(place, "0123456789ab", "depth")).mean(axis=(2, 3))
    assert near[0].mean() > near[1].mean()
    before = films.pass_film(place, "0123456789ab", "depth").stat().st_mtime_ns
    assert films.of_variant(place, "run", "base")[1].address.endswith(str(before))  # not made anew
    assert films.player(place, "run", "base").count("<video") == 3


def test_settings_of_a_variant_are_read_back(tmp_path: Path) -> None:
    folder = _variant(tmp_path, "run/base", 1, "video.mp4")
    (entry,) = gallery.entries(tmp_path)
    with pytest.raises(ConfigError, match="no record"):
        gallery.settings(tmp_path, entry)
    (folder / "provenance.json").write_text(json.dumps({"overrides": ["scene=mug", "seed=3"]}))
    (folder / "config.yaml").write_text("scene: {name: mug, keys: []}\n")
    assert gallery.settings(tmp_path, entry) == (["scene=mug", "seed=3"], {"name": "mug", "keys": []})
    (folder / "metrics.json").write_text(
        json.dumps({"psnr": 25.5, "control": {"iou": 0.9}, "ok": True, "why": "x"})
    )
    assert gallery.scores(tmp_path, entry) == {"psnr": 25.5, "control.iou": 0.9}


@pytest.mark.parametrize("names", [("..", "base"), ("run", "../.."), ("", "base"), ("/etc", "x")])
def test_variants_lie_in_results(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(ConfigError):
        gallery.variant_folder(tmp_path, *names)
