"""Stage directories: frame numbers, file names, and how a finished directory appears in one piece."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil

from i2v3d.artifacts.files import flush
from i2v3d.artifacts.manifest import MANIFEST, write_manifest
from i2v3d.errors import ArtifactError, ConfigError

FLUSHES_AT_ONCE = 8


def frame_name(frame: int, suffix: str = "png") -> str:
    """File name of a 1-based frame: 31 -> '0031.png'."""
    return f"{frame:04d}.{suffix}"


def segment_name(segment: int) -> str:
    """Folder name of a 0-based segment: 3 -> 'segment_003'."""
    return f"segment_{segment:03d}"


def keyframe_numbers(frames: int, segment_frames: int) -> list[int]:
    """Frames 1, 1+(F-1), 1+2(F-1), ...: the keyframes of a shot of `frames` with segments of F frames.

    Neighbouring segments share a keyframe. Raises ConfigError unless frames - 1 is a positive multiple
    of F - 1, naming the two nearest lengths that are. Source: I2V3D, section on two-stage generation.
    """
    if segment_frames < 2:
        raise ConfigError(f"interpolate.segment_frames is {segment_frames}; a segment has at least 2 frames")
    step = segment_frames - 1
    if frames < segment_frames or (frames - 1) % step:
        lower = max(1, (frames - 1) // step) * step + 1
        upper = lower + step
        hint = f"use {lower} or {upper}" if frames > lower else f"use {lower}"
        raise ConfigError(
            f"scene.frames is {frames}, which does not fit segments of {segment_frames} frames "
            f"(frames - 1 must be a multiple of {step}); {hint}"
        )
    return list(range(1, frames + 1, step))


def check_clip_frames(frames: int, stride: int) -> None:
    """Raises ConfigError unless a clip of `frames` is 1 more than a multiple of `stride`, with the nearest ones.

    stride: frames a latent of a video model that compresses time. Such models round other lengths without a word, and
    the ends then move.
    """
    if frames < 1 + stride or (frames - 1) % stride:
        lower = max(1, (frames - 1) // stride) * stride + 1
        hint = f"{lower} or {lower + stride}" if frames > lower else str(lower)
        raise ConfigError(
            f"infill.segment_frames is {frames}, which the video model cannot make: it needs {stride}k+1; use {hint}"
        )


def segment_frame_numbers(keyframes: Sequence[int], segment: int) -> list[int]:
    """All frame numbers of a segment, both of its keyframes included."""
    return list(range(keyframes[segment], keyframes[segment + 1] + 1))


def list_frames(folder: Path, suffix: str = "png") -> list[int]:
    """The frame numbers found in `folder`, ascending. Raises ArtifactError if there are none."""
    numbers = sorted(int(p.stem) for p in folder.glob(f"*.{suffix}") if p.stem.isdigit())
    if not numbers:
        raise ArtifactError(f"{folder} holds no {suffix} frames; delete the folder and re-run its stage")
    return numbers


def require(directory: Path, *names: str) -> None:
    """Raises ArtifactError naming the first of `names` that a stage directory lacks."""
    for name in names:
        if not (directory / name).exists():
            raise ArtifactError(f"{directory} lacks {name}; delete the folder and re-run its stage")


def work_dir(out: Path) -> Path:
    """The folder beside `out` that keeps checkpoints across killed jobs."""
    return out.parent / f".{out.name}.work"


@contextmanager
def publish(out: Path) -> Iterator[Path]:
    """Yields a fresh sibling folder to write into and renames it to `out` at the end.

    A reader sees either no directory or a whole one, also when two processes build the same one: the
    first rename wins and the later copy is dropped, since equal keys mean equal contents. On an error
    the half-written folder is removed, and what killed processes of this machine left is, too. Files get
    the read permissions of their folder and are on the disk before the folder has its name. Raises
    ArtifactError if `out` lies on an unwritable or full disk.
    """
    temporary = out.parent / f".{out.name}.tmp-{platform.node()}-{os.getpid()}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(out)
        temporary.mkdir()
    except OSError as error:
        raise ArtifactError(f"cannot write in {out.parent}: {error.strerror}; free or unlock it") from error
    try:
        yield temporary
        try:
            _finish(temporary)
            _take_place(temporary, out)
        except OSError as error:
            raise ArtifactError(f"cannot publish {out}: {error.strerror}; free or unlock it") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(work_dir(out), ignore_errors=True)


def _remove_abandoned(out: Path) -> None:
    """Removes half-written folders of processes of this machine that are no more, and of this one."""
    for folder in out.parent.glob(f".{out.name}.tmp-{platform.node()}-*"):
        process = int(folder.name.rsplit("-", 1)[1])
        if process == os.getpid() or not psutil.pid_exists(process):
            shutil.rmtree(folder)


def _finish(folder: Path) -> None:
    """Records all files and brings them onto the disk, as readable as the folder: safetensors asks for the owner's."""
    readable = folder.stat().st_mode & 0o444
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in files:
        path.chmod(path.stat().st_mode | readable)
    write_manifest(folder)
    files.append(folder / MANIFEST)
    with ThreadPoolExecutor(FLUSHES_AT_ONCE) as pool:  # the disk serves many requests faster than one by one
        list(pool.map(flush, files))
    for path in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        flush(path)


def _take_place(temporary: Path, out: Path) -> None:
    """Renames `temporary` to `out`, or drops it if `out` is there already."""
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()  # made beforehand
    try:
        temporary.rename(out)
    except OSError:
        if not out.is_dir():
            raise
        shutil.rmtree(temporary)
    flush(out.parent)
