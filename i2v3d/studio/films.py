"""The films of a variant, which go with the timeline: coarse, generated, depth and mask, in a page of their own."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import av
from jinja2 import Environment

from i2v3d.artifacts.render_folder import RenderFolder
from i2v3d.errors import ArtifactError, InputError
from i2v3d.report.preview import write_pass_films
from i2v3d.studio import gallery
from i2v3d.studio.place import Place

PASSES = ("depth", "mask")
CRF = 20
_KEY = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Film:
    """One film of a variant. address: as the page asks for it."""

    label: str
    address: str
    width: int
    height: int
    frames: int
    fps: float


def of_variant(place: Place, run: str, variant: str) -> list[Film]:
    """What a variant has to show, in the order of the page. Makes the films of its passes once a render, which takes
    some seconds. Raises ConfigError for a variant that does not exist, ArtifactError for one that cannot be read."""
    folder = gallery.variant_folder(place.here, run, variant)
    found = []
    for label, paths in (("coarse", ("coarse.mp4", "preview/coarse.mp4")), ("generated", ("video.mp4",))):
        file = next((path for path in paths if (folder / path).is_file()), None)
        if file is not None:
            found.append(_film(label, folder / file, f"/results/{run}/{variant}/{file}"))
    render = folder / "stages" / "render"
    if render.is_dir() and found:
        made = pass_films(place, render, found[0].frames, round(found[0].fps))
        found += [_film(name, made / f"{name}.mp4", f"/films/{made.name}/{name}.mp4") for name in PASSES]
    elif all((folder / f"preview/{name}.mp4").is_file() for name in PASSES):
        found += [
            _film(name, folder / f"preview/{name}.mp4", f"/results/{run}/{variant}/preview/{name}.mp4")
            for name in PASSES
        ]
    return found


def pass_films(place: Place, render: Path, frames: int, fps: int) -> Path:
    """The folder of the films of a render's passes, which is named by the render's key. Raises ArtifactError."""
    key = render.resolve().name
    out = place.own / "films" / key
    if out.is_dir():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent))
    try:
        write_pass_films(RenderFolder(render), frames, fps, CRF, work)
        work.replace(out)
    except OSError as error:
        if not out.is_dir():  # else another page was faster
            raise ArtifactError(f"{out} cannot be written ({error}); make room, and look again") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out


def pass_film(place: Place, key: str, name: str) -> Path:
    """A film that `pass_films` made. Raises InputError for anything else."""
    file = place.own / "films" / key / f"{name}.mp4"
    if not _KEY.fullmatch(key) or name not in PASSES or not file.is_file():
        raise InputError(f"there is no film {name[:40]!r} of a render {key[:40]!r}")
    return file


def player(place: Place, run: str, variant: str) -> str:
    """The page that shows a variant's films beside each other, at the timeline's frame. Raises as `of_variant`."""
    return _template("player")(films=of_variant(place, run, variant))


def _film(label: str, file: Path, address: str) -> Film:
    try:
        with av.open(str(file)) as opened:
            stream = opened.streams.video[0]
            rate = float(stream.average_rate or 1)
            return Film(
                label,
                f"{address}?{file.stat().st_mtime_ns}",
                stream.width,
                stream.height,
                stream.frames,
                rate,
            )
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise ArtifactError(f"{file} is no readable film ({error}); make it again") from error


@cache
def _template(name: str) -> Callable[..., str]:
    text = (resources.files("i2v3d.studio") / f"{name}.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(text).render
