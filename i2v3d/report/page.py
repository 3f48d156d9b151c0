"""One HTML file that opens offline: tables, plots, videos that play in step, failures, and what scores mean."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path

from i2v3d.errors import ArtifactError

MIME = {".mp4": "video/mp4", ".png": "image/png", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Column:
    """A column of a table. label, direction: its head; meaning: shown when pointed at."""

    label: str
    direction: str
    meaning: str


@dataclass(frozen=True)
class Cell:
    """A value. range: its interval as text; best: marked."""

    text: str
    range: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A line of a table; failed: why it has no values; truth: set apart from the others."""

    name: str
    cells: tuple[Cell, ...]
    failed: str = ""
    truth: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its caption in plain words. first: head of the first column."""

    anchor: str
    title: str
    caption: str
    first: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Film:
    """A video as a data address, and what it is."""

    label: str
    data: str


@dataclass(frozen=True)
class Films:
    """Videos of one shot that play in step."""

    title: str
    fps: int
    frames: int
    keyframes: tuple[int, ...]
    films: tuple[Film, ...]


@dataclass(frozen=True)
class Plot:
    """An SVG drawing and its caption."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Picture:
    """A picture as a data address and its caption."""

    data: str
    caption: str


@dataclass(frozen=True)
class Failure:
    """What failed, where, and the log's last words."""

    method: str
    where: str
    reason: str


@dataclass(frozen=True)
class ScoreNote:
    """What a score means, and the estimator that it depends on."""

    label: str
    meaning: str
    direction: str
    estimator: str


@dataclass
class Page:
    """Everything on the page, top to bottom. made: what it was made by; commands: that make it again."""

    title: str
    intro: list[str]
    tables: list[Table] = field(default_factory=list)
    films: list[Films] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    scores: list[ScoreNote] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    @property
    def contents(self) -> list[tuple[str, str]]:
        """(anchor, name) of the sections that are there."""
        found = [("failures", "what failed")] if self.failures else []
        found += [(table.anchor, table.title.lower()) for table in self.tables]
        named = {"videos": self.films, "plots": self.plots, "pictures": self.pictures}
        found += [(name, name) for name, there in named.items() if there]
        return [*found, ("scores", "what the scores mean"), ("made", "how this was made")]

    def write(self, path: Path) -> None:
        """Writes the file."""
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        loader = FileSystemLoader(Path(__file__).parent)
        environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
        path.write_text(environment.get_template("page.html.j2").render(page=self))


def data_address(path: Path) -> str:
    """A file as text that a page can hold. Raises ArtifactError if it cannot be read."""
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}); run snakemake again") from error
    return f"data:{MIME[path.suffix]};base64,{content}"


def inline_svg(path: Path, name: str) -> str:
    """A drawing to be set into a page: without its XML head, its identifiers made unique by `name`."""
    text = path.read_text()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    return re.sub(r'(url\(#|xlink:href="#|href="#)([^")]+)', rf"\1{name}-\2", text)


def code_version() -> str:
    """The project's version and, in a Git checkout, its commit, as text."""
    from i2v3d.workflow.provenance import code_versions

    found = code_versions()
    changed = " with changes" if found["changed"] else ""
    commit = f", commit {found['commit'][:12]}{changed}" if found["commit"] else ""
    return f"i2v3d {found['i2v3d']}{commit}, torch {found['torch']}, diffusers {found['diffusers']}"
