"""Tracking: what an offline run holds, and that nothing about the tracker stops the work."""

from __future__ import annotations

import json
import logging
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2v3d.config.runtime import TrackingConfig
from i2v3d.errors import ArtifactError, ConfigError
from i2v3d.images import write_rgb, write_video
from i2v3d.stages.context import StageContext
from i2v3d.workflow.tracking import wandb as tracker
from i2v3d.workflow.tracking.comparison import comparison_runs
from i2v3d.workflow.tracking.variant import keyframe_table, last_scalars, variant_run

OFFLINE = TrackingConfig(mode="offline", project="i2v3d-test", entity=None)
ONLINE = TrackingConfig(mode="online", project="i2v3d-test", entity=None)
NODE = {"stage": "lora", "lora": {"rank": 8, "steps": 60}}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, no mode and no server of the person who runs the tests."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def read_records(datastore: Path) -> Iterator[Any]:
    """The records of a .wandb file: header, then 32 KiB blocks of (crc32, length, kind, payload) chunks.

    kind: 1 a whole record, 2 / 3 / 4 the first / a middle / the last chunk of one.
    """
    from wandb.proto import wandb_internal_pb2

    data, at, payload = datastore.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        left_in_block = 32768 - at % 32768
        if left_in_block < 7:
            at += left_in_block
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        payload += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(payload)
            payload = b""
            yield record


def only_run(directory: Path) -> Path:
    (datastore,) = directory.glob("wandb/offline-run-*/run-*.wandb")
    return datastore


def records_of(directory: Path) -> list[Any]:
    """All records of the only run below `directory`, whose service process may still be writing the last."""
    deadline = time.monotonic() + 10
    while True:
        records = list(read_records(only_run(directory)))
        if records and records[-1].WhichOneof("record_type") == "exit":
            return records
        assert time.monotonic() < deadline, "the run was never closed"
        time.sleep(0.02)


def history(records: list[Any]) -> list[dict[str, Any]]:
    """Logged rows with nested keys joined by dots."""
    rows = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    return [{".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in row.item} for row in rows]


def run_config(records: list[Any]) -> dict[str, Any]:
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    return {item.key: json.loads(item.value_json) for item in run.config.update}


def stage_run(directory: Path, cfg: TrackingConfig = OFFLINE) -> Any:
    name = tracker.stage_name("lora", "0123456789ab", None)
    return tracker.stage_run(cfg, group="sweep", job_type="lora", name=name, config=NODE, directory=directory)


def media(tmp_path: Path) -> tuple[Path, Path]:
    picture, video = tmp_path / "validation.png", tmp_path / "video.mp4"
    write_rgb(picture, np.full((32, 48, 3), 90, np.uint8))
    write_video(video, [np.full((32, 48, 3), 40 * i, np.uint8) for i in range(4)], fps=8, crf=18)
    return picture, video


@pytest.mark.slow
def test_offline_run_holds_losses_config_picture_and_video(tmp_path: Path) -> None:
    picture, video = media(tmp_path)
    with stage_run(tmp_path / "logs") as sink:
        ctx = StageContext(device="cpu", max_batch=0, work=tmp_path, sinks=(sink,))
        for step in (1, 2, 3):
            ctx.log_metrics({"loss": 1 / step}, step=step)
        ctx.log_media("validation", picture)
        ctx.log_media("video", video)
        picture.unlink()  # the run keeps its own copy: a stage folder is renamed before the run ends
    datastore = only_run(tmp_path / "logs")
    records = records_of(tmp_path / "logs")
    rows = history(records)
    assert [(row["step"], row["loss"]) for row in rows if "loss" in row] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert run_config(records)["lora"] == NODE["lora"]
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.run_id, run.run_group, run.job_type) == ("lora-0123456789ab", "sweep", "lora")
    assert rows[-2]["validation._type"] == "image-file"
    assert rows[-1]["video._type"] == "video-file"
    for row, name in zip(rows[-2:], ("validation", "video"), strict=True):
        assert (datastore.parent / "files" / row[f"{name}.path"]).stat().st_size == row[f"{name}.size"]


@pytest.mark.slow
def test_long_records_and_rows_survive_block_boundaries(tmp_path: Path) -> None:
    with tracker.stage_run(
        OFFLINE,
        group="g",
        job_type="lora",
        name="n",
        config={"text": "x" * 70000},
        directory=tmp_path,
    ) as sink:
        sink("metrics", {"loss": 0.5})
    records = records_of(tmp_path)
    assert run_config(records)["text"] == "x" * 70000
    assert history(records)[0]["loss"] == 0.5


@pytest.mark.slow
def test_variant_run_links_its_stages(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for folder in ("lora", "interpolate/segment_000", "scene"):
        (results / "stages" / folder).mkdir(parents=True)
    metrics = '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5, "seconds": 3.0}\n'
    (results / "stages" / "lora" / "metrics.jsonl").write_text(metrics)
    picture, _ = media(results)
    (results / "keyframes").mkdir()
    picture.rename(results / "keyframes" / "0001.png")
    variant_run(
        OFFLINE,
        group="demo",
        name="base",
        config={"seed": 7},
        stages=[
            {"stage": "lora", "key": "aaaa", "segment": None, "wall_s": 12.5},
            {"stage": "scene", "key": "bbbb", "segment": None, "wall_s": 2.5},
            {"stage": "interpolate", "key": "cccc", "segment": 0, "wall_s": 5.0},
        ],
        results=results,
        directory=tmp_path / "cache",
    )
    records = records_of(tmp_path / "cache")
    config = run_config(records)
    assert config["seed"] == 7
    assert config["stages"]["lora"] == {"run": "lora-aaaa", "directory": str(results / "stages" / "lora")}
    assert config["stages"]["interpolate/segment_000"]["run"] == "interpolate-cccc-segment_000"
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert run.run_id.startswith("variant-demo-base-")
    assert f"scene: run scene-bbbb, {results}/stages/scene" in run.notes
    rows = history(records)
    assert (rows[0]["lora/loss"], rows[0]["lora/seconds"], rows[0]["lora/wall_s"]) == (1.5, 3.0, 12.5)
    assert rows[0]["interpolate/segment_000/wall_s"] == 5.0
    assert {"video._type", "keyframes/0001._type"} <= {key for row in rows for key in row}


@pytest.mark.slow
def test_online_without_a_key_goes_on_offline_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), stage_run(tmp_path, ONLINE) as sink:
        sink("metrics", {"loss": 0.25})
    assert [record.message for record in caplog.records] == [
        f"W&B has no API key; this run is kept offline below {tmp_path}/wandb"
    ]
    assert history(records_of(tmp_path))[0]["loss"] == 0.25


@pytest.mark.slow
def test_online_without_a_network_goes_on_offline_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(tracker, "INIT_TIMEOUT_S", 1.0)
    with caplog.at_level(logging.WARNING), stage_run(tmp_path, ONLINE) as sink:
        sink("metrics", {"loss": 0.25})
    (warning,) = [record.message for record in caplog.records if record.name == tracker.__name__]
    assert "kept offline" in warning
    assert history(records_of(tmp_path))[0]["loss"] == 0.25


@pytest.mark.parametrize("asked", ["environment", "configuration"])
def test_disabled_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    cfg = TrackingConfig(mode="disabled" if asked == "configuration" else "online", project="p", entity=None)
    if asked == "environment":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    with stage_run(tmp_path / "logs", cfg) as sink:
        sink("metrics", {"loss": 1.0})
    assert not (tmp_path / "logs").exists()


def test_an_unknown_mode_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(ConfigError, match="WANDB_MODE is 'ofline'"), stage_run(tmp_path):
        pass


def test_a_failing_tracker_does_not_stop_the_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), stage_run(tmp_path) as sink:
        sink("media", {"name": "video", "path": str(tmp_path / "missing.mp4")})
        sink("metrics", {"loss": 1.0})
    assert [record.message[:22] for record in caplog.records] == ["W&B recording stopped:"]


def test_a_failed_stage_keeps_its_error_and_marks_its_run(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), stage_run(tmp_path):
        _ = 1 / 0
    records = records_of(tmp_path)
    assert next(r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit") == 1


def test_two_processes_of_one_stage_share_a_run_id(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        with stage_run(tmp_path / folder):
            pass
    names = {only_run(tmp_path / folder).name for folder in ("first", "second")}
    assert names == {"run-lora-0123456789ab.wandb"}


def test_metrics_that_are_not_json_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("loss 1.0\n")
    with pytest.raises(ArtifactError, match=r"metrics\.jsonl is not a file of JSON lines"):
        last_scalars(tmp_path / "metrics.jsonl")


def evaluated_results(folder: Path) -> list[dict[str, Any]]:
    """A variant's folder with two stages, scores and pictures; returns the stages' records."""
    stages = folder / "stages"
    for name in ("scene/truth/photo", "render/rgb", "assemble/frames"):
        (stages / name).mkdir(parents=True)
        for number in (1, 2, 3):
            write_rgb(stages / name / f"{number:04d}.png", np.full((16, 16, 3), 20 * number, np.uint8))
    (stages / "scene" / "scene.json").write_text("{}")
    (stages / "assemble" / "video.mp4").write_bytes(b"video")
    lines = ["clip,frame,keyframe,psnr,flicker"]
    lines += [f"video,{n},{n % 2},{20 + n},{'' if n == 1 else n / 10}" for n in (1, 2, 3)]
    (folder / "metrics.csv").write_text("\n".join([*lines, "coarse,1,1,10,"]) + "\n")
    return [
        {"stage": "scene", "key": "aaaa", "segment": None, "upstream": {}, "wall_s": 1.0},
        {"stage": "assemble", "key": "bbbb", "segment": None, "upstream": {"scene": "aaaa"}, "wall_s": 2.0},
    ]


def test_variant_run_has_frames_pictures_and_lineage(tmp_path: Path) -> None:
    results = tmp_path / "results"
    records = evaluated_results(results)
    variant_run(
        OFFLINE,
        group="demo",
        name="base",
        config={"code": {"commit": "c0ffee"}},
        stages=records,
        results=results,
        directory=tmp_path / "cache",
    )
    found = records_of(tmp_path / "cache")
    rows = history(found)
    frames = [row for row in rows if "frame/psnr" in row]
    assert [(row["step"], row["frame/psnr"]) for row in frames] == [(1, 21), (2, 22), (3, 23)]
    assert [row.get("frame/flicker") for row in frames] == [None, 0.2, 0.3]
    table = next(row for row in rows if row.get("keyframe_scores._type") == "table-file")
    assert (table["keyframe_scores.nrows"], table["keyframe_scores.ncols"]) == (2, 6)
    assert run_config(found)["code"] == {"commit": "c0ffee"}
    artefacts = {
        record.request.log_artifact.artifact.name: record.request.log_artifact.artifact
        for record in found
        if record.WhichOneof("record_type") == "request"
    } | {r.artifact.name: r.artifact for r in found if r.WhichOneof("record_type") == "artifact"}
    assert {"scene-aaaa", "assemble-bbbb"} <= set(artefacts)
    assert json.loads(artefacts["assemble-bbbb"].metadata)["made_from"] == ["scene-aaaa"]
    assert [entry.path for entry in artefacts["assemble-bbbb"].manifest.contents] == ["video.mp4"]
    assert not list((tmp_path / "cache").rglob("scene.json")), "artefacts refer to their files"


def test_every_method_of_a_benchmark_has_its_run(tmp_path: Path) -> None:
    results = tmp_path / "benchmark"
    (results / "videos").mkdir(parents=True)
    (results / "summary.csv").write_text(
        "method,metric,mean,low,high,n\nbase,psnr,25,24,26,3\ncoarse,psnr,20,,,1\n"
    )
    (results / "scenes.csv").write_text(
        "scene,motion,method,psnr\n0,camera,base,25\n3,both,base,\n0,camera,coarse,20\n"
    )
    (results / "report.html").write_text("<p>report</p>")
    write_video(results / "videos" / "scene_000_base.mp4", [np.zeros((16, 16, 3), np.uint8)] * 2, 8, 18)
    comparison_runs(OFFLINE, group="benchmark", results=results, directory=tmp_path / "logs")
    stores = sorted((tmp_path / "logs").glob("wandb/offline-run-*/run-benchmark-*.wandb"))
    assert len(stores) == 2
    end = time.monotonic() + 30
    rows: list[dict[str, Any]] = []
    while {25, 20} - {row.get("psnr") for row in rows} and time.monotonic() < end:
        time.sleep(0.1)  # W&B's own process may still be writing when a run of it has finished
        rows = [row for store in stores for row in history(list(read_records(store)))]
    base = next(row for row in rows if row.get("psnr") == 25)
    assert (base["psnr/low"], base["psnr/high"], base["psnr/n"]) == (24, 26, 3)
    assert "psnr/low" not in next(row for row in rows if row.get("psnr") == 20), "one clip has no interval"
    shown = {key for row in rows for key in row}
    assert {"clips._type", "scene_000_base._type", "report._type"} <= shown
    with pytest.raises(ArtifactError, match=r"summary\.csv cannot be read"):
        comparison_runs(OFFLINE, group="b", results=tmp_path, directory=tmp_path / "logs")


def test_a_table_of_keyframes_shows_what_is_known(tmp_path: Path) -> None:
    evaluated_results(tmp_path)
    columns, rows = keyframe_table(tmp_path)
    assert columns == ["frame", "coarse", "generated", "truth", "psnr", "flicker"]
    assert [row[0] for row in rows] == [1, 3] and rows[0][-2:] == [21.0, None]
    assert keyframe_table(tmp_path / "none") == (["frame"], [])
