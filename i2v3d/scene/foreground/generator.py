"""Any image-to-3D program as a command: `{image}` in, a mesh out, with a time limit, a log and checks."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import string
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from i2v3d.config.scene import GeneratorConfig
from i2v3d.errors import ConfigError, InputError
from i2v3d.images import Mask, Rgb
from i2v3d.scene.mesh_files import SUFFIXES, check_mesh

log = logging.getLogger(__name__)

FIELDS = ("image", "folder", "mesh")
CUTOUT_PX = 1024  # the largest picture that the program gets
MARGIN = 0.1  # of the square cut-out, around the object
LAST_LINES = 3  # of the log that a message repeats


def check_generator(cfg: GeneratorConfig) -> None:
    """Raises ConfigError unless the command can be filled in, its program exists and its result is a mesh's name."""
    words = _words(cfg)
    fields = {
        field for word in words for _, field, _, _ in string.Formatter().parse(word) if field is not None
    }
    where = "scene.foreground.generator"
    if unknown := fields - set(FIELDS):
        raise ConfigError(
            f"{where}.command holds {{{min(unknown)}}}; known: {{image}}, {{folder}} and {{mesh}}"
        )
    if "image" not in fields or not fields & {"folder", "mesh"}:
        raise ConfigError(f"{where}.command must hold {{image}} and either {{mesh}} or {{folder}}; add them")
    if "{" not in words[0] and shutil.which(words[0]) is None:
        raise ConfigError(
            f"{where}.command starts with {words[0]}, which is no program here; install it or give its path"
        )
    result = Path(cfg.result)
    if result.is_absolute() or ".." in result.parts or result.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{where}.result is {cfg.result!r}; expected a path inside {{folder}} that ends in {', '.join(SUFFIXES)}"
        )


def generate_mesh(cfg: GeneratorConfig, rgb: Rgb, mask: Mask, folder: Path, max_faces: int) -> Path:
    """Runs the program on the cut-out foreground; returns the mesh that it wrote, checked.

    rgb: (H, W, 3) and mask: (H, W) of the frame. folder: emptied, gets image.png (RGBA, square, the object with a
    margin), program.log (what it says) and what it writes. The program and all that it started are killed after
    `timeout_s`. Raises ConfigError as `check_generator`, InputError (with the log's path) if it fails, takes too
    long or writes no mesh, or one that cannot be used.
    """
    check_generator(cfg)
    shutil.rmtree(folder, ignore_errors=True)
    mesh = folder / cfg.result
    mesh.parent.mkdir(parents=True)
    cutout(rgb, mask).save(folder / "image.png")
    paths = {
        "image": str((folder / "image.png").resolve()),
        "folder": str(folder.resolve()),
        "mesh": str(mesh.resolve()),
    }
    words = [word.format(**paths) for word in _words(cfg)]
    log.info("running %s for up to %g s", shlex.join(words), cfg.timeout_s)
    _run(words, folder / "program.log", cfg.timeout_s)
    if not mesh.is_file():
        there = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        wrote = ", ".join(name for name in there if name not in ("image.png", "program.log")) or "nothing"
        raise InputError(
            f"the program {words[0]} ended well but wrote no {cfg.result} ({wrote} instead); correct "
            f"scene.foreground.generator.result; see {folder / 'program.log'}"
        )
    try:
        check_mesh(mesh, max_faces)
    except InputError as error:
        raise InputError(f"the program {words[0]} wrote a mesh that cannot be used: {error}") from error
    return mesh


def cutout(rgb: Rgb, mask: Mask) -> Image.Image:
    """The foreground as a square RGBA picture, transparent around it, with a margin."""
    rows, columns = np.nonzero(mask)
    side = round((1 + 2 * MARGIN) * max(np.ptp(rows) + 1, np.ptp(columns) + 1))
    top = round((rows.min() + rows.max() + 1 - side) / 2)
    left = round((columns.min() + columns.max() + 1 - side) / 2)
    rgba = np.dstack([rgb, mask.astype(np.uint8) * 255])
    square = Image.fromarray(rgba).crop((left, top, left + side, top + side))
    return square.resize((CUTOUT_PX, CUTOUT_PX), Image.Resampling.LANCZOS) if side > CUTOUT_PX else square


def _words(cfg: GeneratorConfig) -> list[str]:
    try:
        words = shlex.split(cfg.command or "")
        for word in words:
            list(string.Formatter().parse(word))
    except ValueError as error:
        raise ConfigError(
            f"scene.foreground.generator.command cannot be read ({error}); correct its quotes and braces"
        ) from error
    if not words:
        raise ConfigError(
            "scene.foreground.method is command but scene.foreground.generator.command is empty; give one such "
            "as 'python run.py {image} --output {mesh}'"
        )
    return words


def _run(words: list[str], log_file: Path, timeout_s: float) -> None:
    """Runs a program in a process group of its own, its output in a file. Raises InputError if it does not end well."""
    with log_file.open("wb") as output:
        try:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise InputError(
                f"the program {words[0]} cannot be started ({error.strerror}); check its path"
            ) from error
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise InputError(
                f"the program {words[0]} took more than {timeout_s:g} s and was stopped; raise "
                f"scene.foreground.generator.timeout_s or see {log_file}"
            ) from error
        finally:
            _stop_group(child)
    if code != 0:
        how = f"exit status {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
        said = (
            " / ".join(log_file.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]) or "nothing"
        )
        raise InputError(f"the program {words[0]} failed with {how}, saying: {said[-300:]}; see {log_file}")


def _stop_group(child: subprocess.Popen[bytes]) -> None:
    """Ends a program that still runs, and whatever it left running."""
    with suppress(ProcessLookupError):  # nothing of it is left
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
