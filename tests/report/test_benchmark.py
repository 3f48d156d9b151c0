"""The benchmark from its plan to its page, on shots whose order is known: no Blender, no sampling."""

from __future__ import annotations

import csv
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest

from i2v3d.benchmark.plan_benchmark import BenchmarkPlan, make_due, plan_benchmark
from i2v3d.benchmark.settings import BenchmarkSettings, load_settings
from i2v3d.benchmark.trials import clips_of, read_plan_file
from i2v3d.errors import ArtifactError
from i2v3d.images import read_video
from i2v3d.logs import REASON
from i2v3d.report.of_benchmark import write_benchmark
from i2v3d.report.of_run import write_run
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.plan import settings_path
from tests.support.checkout import make_checkout, planned_jobs, snakemake
from tests.support.evaluated_shot import random_estimator
from tests.support.published_shots import SMALL, publish_shot

pytestmark = pytest.mark.slow  # six shots are evaluated

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
BEST, WORST, BROKEN = "base", "no_injection", "no_extended_attention"


def settings(**changed: Any) -> BenchmarkSettings:
    quick = load_settings(CONF, "benchmark", "quick", BenchmarkSettings)
    return dataclasses.replace(quick, sweep="injection", overrides=(), shown=1, **changed)


def make_plan(cache: Path, estimator: Path, **changed: Any) -> BenchmarkPlan:
    words = [*SMALL, f"evaluate.estimators.toy.source={estimator}"]
    return plan_benchmark(CONF, cache, settings(**changed), None, words)


@dataclass
class Run:
    cache: Path
    plan_file: Path
    plan: BenchmarkPlan
    estimator: Path

    def report(self, out: Path) -> Path:
        out.mkdir()
        write_benchmark(self.plan_file, self.cache, out)
        return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    base = tmp_path_factory.mktemp("benchmark")
    cache, estimator = base / "cache", random_estimator(base / "estimator")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        plan = make_plan(cache, estimator)
    for trial, variant in zip(plan.planned.trials, plan.planned.plan.variants, strict=True):
        if trial.method != BROKEN:
            publish_shot(cache, trial, variant.config, good=trial.method == BEST)
        else:
            log = cache / "log" / "keyframes" / f"{trial.keys['keyframes']}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(
                f"0 0 INFO i2v3d: loading\n0 0 DEBUG i2v3d: {REASON}RuntimeError: the card caught fire\n"
            )
    return Run(cache, plan.write(cache, settings_path(cache, {})), plan, estimator)


@pytest.fixture(scope="module")
def out(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run.report(tmp_path_factory.mktemp("out") / "report")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def value(rows: list[dict[str, str]], method: str, metric: str, column: str = "mean") -> float:
    (row,) = (r for r in rows if r["method"] == method and r["metric"] == metric)
    return float(row[column])


# ---------------------------------------------------------------- plan
def test_every_variant_runs_on_a_third_of_each_motion_and_shares_its_stages(run: Run) -> None:
    planned = run.plan.planned
    assert sorted(clip.motion for clip in planned.clips) == ["both", "camera", "object"]
    assert [t.method for t in planned.trials] == [BEST, WORST, BROKEN] * 3
    assert planned.plan.jobs() < 0.75 * planned.plan.jobs_unshared()
    for clip in planned.clips:
        keys = [t.keys for t in planned.trials if t.clip == clip.index]
        assert len({k["lora"] for k in keys}) == 1 and len({k["keyframes"] for k in keys}) == 3
    assert len({t.keys["scene"] for t in planned.trials}) == 3


def test_a_plan_is_read_back_and_equal_plans_are_one_file(run: Run) -> None:
    data = read_plan_file(run.plan_file)
    assert tuple(clips_of(data)) == run.plan.planned.clips
    assert run.plan.write(run.cache, settings_path(run.cache, {})) == run.plan_file


def test_what_was_composed_once_is_not_composed_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("composed again")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(hydra, "compose", refuse)
    assert make_plan(run.cache, run.estimator).planned.trials == run.plan.planned.trials


def test_a_variant_for_another_clip_is_what_composing_it_gives(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    last = run.plan.planned.clips[-1].index
    words = ["scene=toy", "run=benchmark", *SMALL, f"evaluate.estimators.toy.source={run.estimator}"]
    words += ["keyframes.injection=false", f"scene.index={last}"]
    (composed,) = compose_variants(CONF, words)
    at = [(t.clip, t.method) for t in run.plan.planned.trials].index((last, WORST))
    planned = run.plan.planned.plan.variants[at]
    assert planned.config == composed.config and planned.overrides == tuple(words)
    assert composed.config["scene"]["caption"] in composed.config["keyframes"]["prompt"]


# ---------------------------------------------------------------- tables
def test_the_better_method_is_better_in_the_summary(out: Path) -> None:
    rows = table(out / "summary.csv")
    assert list(rows[0]) == ["method", "metric", "mean", "low", "high", "n"]
    assert value(rows, BEST, "psnr") == pytest.approx(value(rows, WORST, "psnr") + 20 * np.log10(5), abs=0.3)
    assert value(rows, BEST, "ssim") > value(rows, WORST, "ssim")
    assert value(rows, BEST, "psnr", "n") == 3
    assert value(rows, BEST, "psnr", "low") <= value(rows, BEST, "psnr") <= value(rows, BEST, "psnr", "high")
    assert not any(r["method"] == BROKEN for r in rows), "what failed has no mean"
    assert {r["metric"] for r in rows if r["method"] == "truth"} >= {"mask_iou", "seam_jump", "warping_error"}


def test_the_summary_as_text_says_what_the_table_says(out: Path) -> None:
    text = (out / "summary.md").read_text()
    first = next(line for line in text.splitlines() if line.startswith(f"| `{BEST}` |"))
    rows = table(out / "summary.csv")
    for column in ("mean", "low", "high"):
        assert f"{value(rows, BEST, 'psnr', column):.4g}" in first.split("|")[2], column
    assert "PSNR (dB), higher is better" in text and f"### What {BEST} gains, clip by clip" in text
    leads = [line for line in text.splitlines() if line.startswith(f"| `{WORST}` |")][-2:]
    for lead, file in zip(leads, ("gains.csv", "gains_last_third.csv"), strict=True):
        assert f"{value(table(out / file), WORST, 'psnr'):+.3g}" in lead.split("|")[2]
    assert BROKEN not in text, "what failed has no mean"


def test_gains_are_differences_clip_by_clip(out: Path) -> None:
    scenes = {(r["method"], r["scene"]): float(r["psnr"] or "nan") for r in table(out / "scenes.csv")}
    clips = {scene for _, scene in scenes}
    expected = [scenes[BEST, clip] - scenes[WORST, clip] for clip in clips]
    gains = table(out / "gains.csv")
    assert value(gains, WORST, "psnr") == pytest.approx(np.mean(expected), rel=1e-4)
    assert min(expected) - 1e-3 <= value(gains, WORST, "psnr", "low") <= value(gains, WORST, "psnr", "high")
    assert not any(r["method"] == BEST for r in gains)


def test_the_last_third_of_the_frames_is_told_by_itself(out: Path) -> None:
    last = [r for r in table(out / "rows.csv") if r["frame"] == "5"]  # of five frames
    means = {m: np.mean([float(r["psnr"]) for r in last if r["method"] == m]) for m in (BEST, WORST)}
    summary, gains = table(out / "summary_last_third.csv"), table(out / "gains_last_third.csv")
    for method, mean in means.items():
        assert value(summary, method, "psnr") == pytest.approx(mean, rel=1e-5)
    assert value(gains, WORST, "psnr") == pytest.approx(means[BEST] - means[WORST], rel=1e-3)
    assert value(gains, WORST, "psnr", "n") == 3


def test_every_frame_of_every_finished_shot_has_a_row(out: Path) -> None:
    rows = table(out / "rows.csv")
    assert len(rows) == 3 * 5 * (2 + 1)  # clips, frames, finished methods and the truth
    assert {r["motion"] for r in rows} == {"camera", "object", "both"}
    assert all(r["psnr"] == "" for r in rows if r["method"] == "truth")


# ---------------------------------------------------------------- page
def test_what_failed_is_listed_with_its_last_words(out: Path) -> None:
    failures = table(out / "failures.csv")
    assert len(failures) == 3 and {r["method"] for r in failures} == {BROKEN}
    assert failures[0]["reason"] == "keyframes: RuntimeError: the card caught fire"
    page = (out / "report.html").read_text()
    assert page.count("the card caught fire") >= 3 and "3 of 9 shots failed" in page
    assert f'<td>{BROKEN}</td><td class="failed"' in page.replace("\n", "")


def test_the_page_needs_nothing_else_and_marks_the_best(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert 'src="http' not in page and 'href="http' not in page.replace('xmlns:xlink="http', "")
    assert page.count("<video") == 3  # the truth and two finished methods of the clip that is shown
    assert page.count('class="best"') >= 3 and "higher is better" in page and "lower is better" in page
    assert "no_injection" in page and "Left out, and why" in page


def test_videos_show_all_finished_methods_side_by_side(out: Path) -> None:
    (together,) = (p for p in (out / "videos").iterdir() if p.stem.count("_") == 1)
    assert read_video(together).shape == (5, (64 + 14) // 2 * 2, 3 * 96 + 2 * 4, 3)


def test_a_report_made_again_is_the_same(run: Run, out: Path, tmp_path: Path) -> None:
    again = run.report(tmp_path / "again")
    for path in out.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(out)).read_bytes(), path


def test_a_benchmark_of_which_nothing_is_finished_says_why(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ArtifactError, match=r"no trial .* is finished: scene: was not started"):
        write_benchmark(run.plan_file, tmp_path / "cache", tmp_path / "out")


def test_the_page_of_a_run_compares_its_variants_on_one_shot(run: Run, tmp_path: Path) -> None:
    data = read_plan_file(run.plan_file)
    shot = data["clips"][0]
    trials = [trial for trial in data["trials"] if trial["clip"] == shot["index"]]
    one = data | {"run": "mine", "clips": [shot], "trials": trials}
    (tmp_path / "plan.json").write_text(json.dumps(one))
    (tmp_path / "out").mkdir()
    write_run(tmp_path / "plan.json", run.cache, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["comparison.csv", "comparison.html"]
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "Run mine" in page and shot["caption"] in page and "the card caught fire" in page
    assert "One shot has no confidence interval" in page and "snakemake --cores all --keep-going" not in page
    (base,) = (
        r for r in table(tmp_path / "out/comparison.csv") if (r["method"], r["metric"]) == ("base", "psnr")
    )
    assert base["n"] == "1"


# ---------------------------------------------------------------- as users run it
def test_the_target_plans_its_own_jobs_and_no_demo(tmp_path: Path) -> None:
    place = make_checkout(tmp_path / "checkout")

    benchmark = planned_jobs(snakemake(place, "-n", "benchmark", settings={"benchmark": "quick"}).stdout)
    assert benchmark["scene"] == 3 and benchmark["evaluate"] == 3 * 10 and "variant" not in benchmark
    refused = snakemake(place, "-n", "benchmark", settings={"benchmark": "quik"}).stdout
    assert "i2v3d: error: benchmark=quik does not exist; did you mean 'quick'?" in refused


def test_the_report_of_an_unfinished_benchmark_is_made_again(tmp_path: Path) -> None:
    place = make_checkout(tmp_path / "checkout")
    snakemake(place, "-n", "benchmark", settings={"benchmark": "quick"})
    page = place / "results/benchmark_quick/report.html"
    page.parent.mkdir(parents=True)
    tables = (
        "summary",
        "rows",
        "scenes",
        "gains",
        "summary_by_motion",
        "summary_last_third",
        "gains_last_third",
    )
    for name in ("summary.md", *(f"{table}.csv" for table in tables)):
        (page.parent / name).touch()
    for name in ("plots", "videos"):
        (page.parent / name).mkdir()
    (page.parent / "failures.csv").touch()
    page.touch()
    assert "Nothing to be done" in snakemake(place, "-n", "benchmark", settings={"benchmark": "quick"}).stdout
    make_due(page, next((place / "results/.cache/plan/benchmark").glob("*.json")))
    again = planned_jobs(snakemake(place, "-n", "benchmark", settings={"benchmark": "quick"}).stdout)
    assert again["evaluate"] == 3 * 10
