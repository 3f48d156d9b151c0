"""The pages of results/mini_report: numbers beside their aims, pictures, and videos that play in step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from i2v3d.artifacts.folders import frame_name, list_frames
from i2v3d.benchmark.trials import Trial
from i2v3d.report.films import film, picture_rows
from i2v3d.report.markdown import tables_markdown
from i2v3d.report.outcomes import Outcome, folder
from i2v3d.report.page import (
    Cell,
    Column,
    Films,
    Page,
    Picture,
    Row,
    Table,
    code_version,
    data_address,
)
from i2v3d.report.summary import write_table
from i2v3d.report.tables import score_notes
from miniature.report import Findings

MEANINGS = {
    "vae_psnr": "dB: true photos through the autoencoder and back, against themselves",
    "vae_psnr_fg": "dB: the same on the object alone",
    "depth_mask_iou": "overlap of the object in pictures drawn from depth and caption with the true object",
    "truth_mask_iou": "what the estimator of that overlap reaches on true photos",
    "keyframe_gain_db": "dB: keyframes against the true photos, more than the coarse render (frame 1 apart)",
    "identity_top1": "fraction of clips whose last keyframe, the object turned, shows the photo's object best of all",
    "identity_top1_truth": "the same of the true picture of that view",
    "interpolation_gain_db": "dB: middle frames from true end frames and depth, from noise, more than a cross-fade",
    "forward_only_gain_db": "dB: the same, guided from the first frame only",
    "interpolation_method_gain_db": "dB: the same as the pipeline interpolates, with inversion and injection",
    "pipeline_gain_db": "dB: the full video against the true one, more than the best rival",
}
PICTURES = {
    "keyframes": "Keyframes. Upper row: coarse render; middle: the method; lower: true photos.",
    "turned": "The object turned: photo, last keyframe, true photo of that view.",
    "probe_image": "First and last frame. Rows: true photos; through the autoencoder; drawn from depth and caption.",
    "probe_video": "Frames between the true end frames. Rows: truth; from depth and both ends; from depth and the "
    "first frame; with inversion and injection; cross-fade.",
}
NUMBERS = (
    Column("value", "mean over clips", ""),
    Column("median", "over clips", ""),
    Column("aim", "at least", ""),
    Column("meaning", "", ""),
)


def write_report(found: Findings, cache: Path, out: Path) -> None:
    """Writes metrics.json, scenes.csv, report.md, report.html, pictures/ and videos/ into the empty folder `out`."""
    (out / "metrics.json").write_text(json.dumps(found.metrics, indent=1, allow_nan=False) + "\n")
    write_table(out / "scenes.csv", found.scenes, list(found.scenes[0]))
    for name in ("pictures", "videos"):
        (out / name).mkdir()
    pictures = _pictures(found, cache, out)
    page = Page(
        title="What the miniature family reaches",
        intro=[
            f"{len(found.clips)} held-out clips of its toy world: objects, colours, patterns and grounds in "
            "combinations and shapes that no network was trained on. Every number is a mean over these clips.",
            "The miniature is for trying, testing and measuring the method; it says nothing about real photos.",
        ],
        tables=[_numbers(found), _scenes(found)],
        films=[_films(found, cache, out, clip.index) for clip in found.clips[: found.settings.shown]],
        pictures=[Picture(data_address(path), caption) for path, caption in pictures],
        scores=score_notes(["psnr"], {}),
        made=[f"{code_version()}."],
        commands=["snakemake -s miniature/Snakefile --cores all mini_report"],
    )
    page.write(out / "report.html")
    (out / "report.md").write_text(
        _markdown(found, [(path.relative_to(out), text) for path, text in pictures])
    )


def _numbers(found: Findings) -> Table:
    rows = []
    for name, meaning in MEANINGS.items():
        value, aim = found.metrics[name], found.settings.aims.get(name)
        reached = aim is not None and value >= aim
        middle = found.metrics["medians"].get(name)
        cells = (
            Cell(f"{value:.3f}", best=reached),
            Cell("" if middle is None else f"{middle:.3f}"),
            Cell("" if aim is None else f"{aim:g}"),
            Cell(meaning),
        )
        rows.append(Row(name, cells))
    return Table(
        anchor="numbers",
        title="Numbers",
        caption="Higher is better in every line; green where the aim is reached. The pipeline's best rival is "
        f"{found.metrics['pipeline_best_rival']}; objects were told apart among {found.metrics['identity_gallery']}.",
        first="number",
        columns=NUMBERS,
        rows=tuple(rows),
    )


def _scenes(found: Findings) -> Table:
    names = [name for name in found.scenes[0] if isinstance(found.scenes[0][name], float)]
    rows = [
        Row(
            f"{row['scene']}: {row['caption']} ({row['motion']})", tuple(Cell(f"{row[n]:.2f}") for n in names)
        )
        for row in found.scenes
    ]
    return Table(
        anchor="clips",
        title="Clip by clip",
        caption="The same numbers of every clip, higher is better; what moves in it stands in brackets.",
        first="clip",
        columns=tuple(Column(name, "", MEANINGS.get(name, "")) for name in names),
        rows=tuple(rows),
    )


def _pictures(found: Findings, cache: Path, out: Path) -> list[tuple[Path, str]]:
    """(file, caption) of the pictures of the first clips."""
    made = []
    for clip in found.clips[: found.settings.shown]:
        full, turned = found.outcomes[found.settings.full][clip.index], found.turned[clip.index]
        rows = {"keyframes": _keyframe_rows(cache, full), "turned": [_turned_row(cache, turned)]}
        for name, caption in PICTURES.items():
            path = out / "pictures" / f"{name}_{clip.index:03d}.png"
            if name in rows:
                picture_rows(rows[name], path)
            else:
                shutil.copyfile(found.probes[clip.index][name] / "sheet.png", path)
            made.append((path, f"Clip {clip.index}, {clip.caption}. {caption}"))
    return made


def _turned_row(cache: Path, turned: Trial) -> list[Path]:
    keyframes, scene = folder(cache, turned, "keyframes"), folder(cache, turned, "scene")
    last = frame_name(list_frames(keyframes)[-1])
    return [scene / "photo.png", keyframes / last, scene / "truth" / "photo" / last]


def _keyframe_rows(cache: Path, full: Outcome) -> list[list[Path]]:
    keyframes = folder(cache, full.trial, "keyframes")
    names = [frame_name(number) for number in list_frames(keyframes)]
    render, scene = folder(cache, full.trial, "render"), folder(cache, full.trial, "scene")
    return [
        [place / name for name in names] for place in (render / "rgb", keyframes, scene / "truth" / "photo")
    ]


def _films(found: Findings, cache: Path, out: Path, clip: int) -> Films:
    full = found.outcomes[found.settings.full][clip]
    assert full.metrics is not None, "collect reads finished shots only"
    frames, fps = full.metrics["frames"], full.metrics["fps"]
    shown = {"truth": folder(cache, full.trial, "scene") / "truth" / "photo"}
    shown |= {
        name: folder(cache, of[clip].trial, "assemble") / "frames" for name, of in found.outcomes.items()
    }
    caption = next(c.caption for c in found.clips if c.index == clip)
    films = [
        film(name, place, frames, fps, out / "videos" / f"{clip:03d}_{name}.mp4")
        for name, place in shown.items()
    ]
    return Films(f"clip {clip}: {caption}", fps, frames, tuple(full.metrics["keyframes"]), tuple(films))


def _markdown(found: Findings, pictures: list[tuple[Path, str]]) -> str:
    numbers = _numbers(found)
    lines = [f"# What the miniature family reaches on {len(found.clips)} held-out clips", ""]
    lines += [tables_markdown([numbers]), numbers.caption, ""]
    for path, text in pictures:
        lines += [text, "", f"![{path.stem}]({path.as_posix()})", ""]
    return "\n".join(lines)
