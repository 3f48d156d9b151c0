"""A scene for a photo of one's own: conf/scene/NAME.yaml, every control shown, and scenes/NAME/ with the pictures."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2v3d.config.models import ModelsConfig
from i2v3d.config.scene import SceneConfig
from i2v3d.config.sections import build
from i2v3d.errors import ConfigError, InputError
from i2v3d.figures.labelled import Panel, labelled_rows
from i2v3d.images import Mask, Rgb, write_mask, write_rgb
from i2v3d.scene.photo.candidates import Candidate, mask_candidates
from i2v3d.scene.photo.framing import Photo, is_upright_file, load_mask, load_photo, require_some_foreground
from i2v3d.stages.scene import check_scene
from i2v3d.workflow.composition import compose_variants

log = logging.getLogger(__name__)

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
CANDIDATES, LETTERS, PANEL_PX = "candidates.png", "ABC", 320  # masks to choose from
TEMPLATE = "photo"  # conf/scene/photo.yaml explains every control
BELOW_HORIZON = 0.1  # fraction of the height by which the object must reach below the horizon


@dataclass(frozen=True)
class Wanted:
    """What the user asked for. size: width and height in pixels; None: fitted to the photo's aspect."""

    name: str
    image: Path
    mask: Path | None
    prompt: str | None
    class_name: str | None
    size: tuple[int, int] | None


def new_scene(wanted: Wanted, project: Path, place: Callable[[], Path] | None = None) -> str:
    """Writes conf/scene/NAME.yaml and scenes/NAME/ of a project; returns what to tell the user.

    place: makes the conf/ that runs in the folder see, of a folder apart from the project; None: the project's own.

    Nothing is overwritten, and nothing stays behind if the scene turns out to be wrong. Raises ConfigError
    for a bad or taken name and a bad size, InputError for a photo or mask that cannot be used.
    """
    seen = place or (lambda: project / "conf")
    conf, folder = seen() / "scene", project / "scenes" / wanted.name
    target = project / "conf" / "scene" / f"{wanted.name}.yaml"
    _check_names(wanted, conf, folder, target)
    photo = load_photo(wanted.image)
    mask = load_mask(wanted.mask, photo.width, photo.height) if wanted.mask else photo.alpha
    if mask is not None:
        source = f"mask {wanted.mask}" if wanted.mask else f"the transparency of {wanted.image}"
        require_some_foreground(mask, source, "paint the foreground white on black and give it with --mask")
    folder.mkdir(parents=True)
    try:
        photo_file = _store(wanted.image, photo, folder)
        if mask is not None:
            write_mask(folder / "mask.png", mask)
        choices = [] if mask is not None else mask_candidates(photo.rgb)
        found = mask if mask is not None else choices[0].mask
        if choices:
            write_rgb(folder / CANDIDATES, candidates_picture(photo.rgb, choices))
        values = _values(wanted, photo, found, f"scenes/{wanted.name}/{photo_file}", mask is not None)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(fill_template((conf / f"{TEMPLATE}.yaml").read_text(), wanted.name, values))
        _check_composed(seen(), wanted)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        target.unlink(missing_ok=True)
        raise
    return _words(wanted.name, folder, target, found, choices)


def _check_names(wanted: Wanted, conf: Path, folder: Path, target: Path) -> None:
    """Raises ConfigError unless the scene can be written under its name."""
    if not (conf / f"{TEMPLATE}.yaml").is_file():
        raise ConfigError(f"{conf / f'{TEMPLATE}.yaml'} does not exist; run this in the project's folder")
    if not NAME.fullmatch(wanted.name):
        raise ConfigError(
            f"{wanted.name!r} is no name for a scene; use up to 40 small letters, digits, _ and -, "
            "a letter or digit first"
        )
    for existing in (target, folder, conf / f"{wanted.name}.yaml"):
        if existing.exists():
            raise ConfigError(f"{existing} exists already; choose another name or delete it first")


def _store(image: Path, photo: Photo, folder: Path) -> str:
    """Copies an upright photo as it is, else writes its upright, opaque pixels; returns the file's name."""
    if photo.alpha is None and is_upright_file(image):
        name = f"photo{image.suffix.lower()}"
        shutil.copyfile(image, folder / name)
        return name
    write_rgb(folder / "photo.png", photo.rgb)
    return "photo.png"


def _values(
    wanted: Wanted, photo: Photo, found: Mask, photo_file: str, has_mask: bool
) -> dict[tuple[str, ...], str]:
    """What differs from the template, as YAML: path of keys -> value."""
    values = {
        ("name",): wanted.name,
        ("photo",): photo_file,
        ("mask",): f"scenes/{wanted.name}/mask.png" if has_mask else "null",
        ("background", "horizon"): f"{_horizon(found):.2f}",
    }
    if wanted.size:
        values |= {("width",): str(wanted.size[0]), ("height",): str(wanted.size[1])}
    else:
        aspect = f"{photo.width / photo.height:.4g}"
        for side in ("width", "height"):
            values[side,] = f"${{fitted_{side}:${{models.width}},${{models.height}},{aspect}}}"
    if wanted.class_name:
        values["class_name",] = json.dumps(wanted.class_name, ensure_ascii=False)
    if wanted.prompt:
        values["prompt",] = json.dumps(wanted.prompt, ensure_ascii=False)
    return values


def _horizon(found: Mask) -> float:
    """The template's horizon, or a higher one if the foreground would not reach below it."""
    rows = np.flatnonzero(found.any(axis=1))
    bottom = (rows[-1] + 1) / len(found) if len(rows) else 1.0
    return float(min(0.4, bottom - BELOW_HORIZON))


def fill_template(text: str, name: str, values: dict[tuple[str, ...], str]) -> str:
    """The template's text with other values and its comments kept; its own head becomes the scene's.

    values: path of keys -> YAML. Raises ConfigError if the template lacks one of the paths.
    """
    lines, waiting, path = text.splitlines(), dict(values), [""]
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    for number, line in enumerate(lines):
        if not (match := re.match(r"( *)(\w+):( ?)([^#]*?)( +#.*)?$", line)):
            continue
        indent, key, _, _, comment = match.groups()
        path = [*path[: len(indent) // 2], key]
        if tuple(path) in waiting:
            lines[number] = f"{indent}{key}: {waiting.pop(tuple(path))}{comment or ''}"
    if waiting:
        raise ConfigError(f"the template of scenes lacks {'.'.join(next(iter(waiting)))}; restore conf/scene")
    head = f"# Scene {name}. Look at it before any diffusion: i2v3d preview scene={name} run={name}"
    return "\n".join([head, *lines]) + "\n"


def _check_composed(conf: Path, wanted: Wanted) -> None:
    """Raises I2V3DError if the written scene would be refused by a run."""
    (variant,) = compose_variants(conf, [f"scene={wanted.name}"])
    section = build(SceneConfig, variant.config["scene"], "scene")
    if wanted.size:  # a fitted one suits every family
        from i2v3d.workflow.preflight import check_sizes  # torch, which a fitted size need not wait for

        check_sizes(section, build(ModelsConfig, variant.config["models"], "models"))
    try:
        check_scene(section)
    except InputError as error:
        raise InputError(f"the new scene cannot be used: {error}") from error


def candidates_picture(rgb: Rgb, choices: Sequence[Candidate]) -> Rgb:
    """The photo with each mask, what is not of it greyed."""
    panels = [
        Panel(f"{letter}, {choice.mask.mean():.0%}", np.where(choice.mask[..., None], rgb, rgb // 4 + 160))
        for letter, choice in zip(LETTERS, choices, strict=False)
    ]
    return labelled_rows([("masks to choose from", panels)], PANEL_PX)


def _words(name: str, folder: Path, target: Path, found: Mask, choices: Sequence[Candidate]) -> str:
    """What was written and what to do next; choices: masks that were found, none if one was given."""
    share = 100 * float(found.mean())
    how = "GrabCut finds a foreground of" if choices else "your mask covers"
    lines = [
        f"wrote {target} (every control, explained) and {folder}/",
        f"  {how} {share:.0f} % of the photo",
    ]
    if choices:
        lines.append(f"  if that is not your object, see {folder / CANDIDATES} and choose, or give a mask:")
    for letter, choice in zip(LETTERS, choices, strict=False):
        option = "as it is" if choice.box is None else f"segment.box: {list(choice.box)} in {target}"
        doubt = f" ({choice.doubt})" if choice.doubt else ""
        lines.append(f"    {letter}: {option}{doubt}")
    lines += [
        f"next: i2v3d preview scene={name} run={name}    (the coarse animation, within a minute)",
        f"then: i2v3d scene={name} run={name}            (goes on from there)",
    ]
    return "\n".join(lines) + "\n"
