"""The local model cache of huggingface_hub: what is in it, whether it is whole, and filling it from a folder.

A file's content lies in `blobs/` under the hash that its repository gives it, `snapshots/COMMIT/` links to it. HF_HOME
says where the cache lies. Nothing here reaches a network.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from i2v3d.artifacts.files import write_text
from i2v3d.errors import MachineError, WeightsError
from i2v3d.models.needs import Need
from i2v3d.progress import track

log = logging.getLogger(__name__)

BLOCK = 1 << 24
SPARE_BYTES = 1_000_000_000  # that stay free on the disk of the cache


def cache_folder() -> Path:
    """Where huggingface_hub keeps models."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def place_of(repository: str) -> Path:
    """The folder of a repository in the cache."""
    from huggingface_hub.file_download import repo_folder_name

    return cache_folder() / repo_folder_name(repo_id=repository, repo_type="model")


def is_repository(need: Need) -> bool:
    """Whether the weights are those of a repository rather than a folder of the user's."""
    source = need.ref.source
    return not Path(source).expanduser().is_dir() and source.count("/") == 1 and source[0] not in "./~"


def check_room(left: int) -> None:
    """Raises MachineError unless the disk of the cache takes `left` more bytes."""
    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if left and free < left + SPARE_BYTES:
        raise MachineError(
            f"{folder} has {free / 1e9:.1f} GB free, these weights take {left / 1e9:.1f} GB and 1 GB must stay free; "
            "free some, or set HF_HOME to a folder on another disk"
        )


def verify(snapshot: Path, names: Sequence[str], *, delete: bool) -> int:
    """Hashes files of a snapshot and compares them with the names of their contents in the cache.

    Returns how many could be compared; files of a folder that is no cache cannot. delete: of what is wrong, so that it
    is fetched again. Raises WeightsError naming the first wrong file.
    """
    compared = 0
    for name in track(names, desc="verify", unit="file"):
        blob = (snapshot / name).resolve()
        expected = blob.name
        if blob.parent.name != "blobs" or len(expected) not in (40, 64):
            continue
        if digest_of(blob, expected) != expected:
            if delete:
                forget(snapshot / name)
            raise WeightsError(
                f"{snapshot / name} is not what its repository has (its hash differs)"
                f"{', and was deleted; run the same command again' if delete else '; fetch it again with i2v3d fetch'}"
            )
        compared += 1
    return compared


def adopt(need: Need, source: Path) -> Path:
    """Copies what is needed from a folder into the local model cache; returns the snapshot's folder there.

    source: a copy of another machine's model cache, or a folder with OWNER/NAME or NAME of the repository below it.
    Raises WeightsError if the repository, its pinned commit or a file is not there, MachineError if the disk is full.
    """
    origin, commit = _origin(need, source)
    below = [str(path.relative_to(origin)) for path in sorted(origin.rglob("*")) if path.is_file()]
    if lacking := need.lacking(below):
        raise WeightsError(f"{origin} lacks {', '.join(lacking)}; copy all of {need.ref.source} there")
    from huggingface_hub.utils import filter_repo_objects

    wanted = sorted(filter_repo_objects(below, allow_patterns=need.patterns()))
    sizes = {name: (origin / name).stat().st_size for name in wanted}
    check_room(sum(sizes.values()))
    verify(origin, wanted, delete=False)
    place = place_of(need.ref.source)
    try:
        digests = {name: _put(origin / name, place, name) for name in track(wanted, desc="copy", unit="file")}
        commit = commit or hashlib.sha1(repr(sorted(digests.items())).encode()).hexdigest()
        for name, digest in digests.items():
            link = place / "snapshots" / commit / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(place / "blobs" / digest, link.parent))
        if need.ref.revision is None:
            write_text(place / "refs" / "main", commit)
    except OSError as error:
        raise MachineError(
            f"{place} cannot be written ({error.strerror}); free its disk or set HF_HOME"
        ) from error
    return place / "snapshots" / commit


def _origin(need: Need, source: Path) -> tuple[Path, str]:
    """The folder in `source` that holds the repository's files, and its commit, '' if nothing tells it."""
    ref = need.ref
    name = place_of(ref.source).name
    for cached in (source / name, source / "hub" / name):
        if cached.is_dir():
            main = cached / "refs" / "main"
            commit = ref.revision or (main.read_text().strip() if main.is_file() else "")
            if not (cached / "snapshots" / commit).is_dir() or not commit:
                raise WeightsError(
                    f"{cached} has no snapshot of commit {commit or 'main'}; copy that one, too"
                )
            return cached / "snapshots" / commit, commit
    for plain in (source / ref.source, source / ref.source.split("/")[1]):
        if plain.is_dir():
            return plain, ref.revision or ""
    raise WeightsError(
        f"{source} holds no {ref.source}; expected it in {source / ref.source}, or as in a model cache in "
        f"{source / name}"
    )


def _put(file: Path, place: Path, name: str) -> str:
    """Copies a file to the cache under its SHA-256, in one piece or not at all, and returns that."""
    digest = digest_of(file, "0" * 64)
    target = place / "blobs" / digest
    if not (target.is_file() and target.stat().st_size == file.stat().st_size):
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_suffix(".copying")
        shutil.copyfile(file, half)
        half.replace(target)
    log.debug("copied %s as %s", name, digest)
    return digest


def digest_of(file: Path, like: str) -> str:
    """The hash that names a file's content in a cache: SHA-256 of large files, git's own of small ones."""
    digest = hashlib.sha256() if len(like) == 64 else hashlib.sha1(f"blob {file.stat().st_size}\0".encode())
    with file.open("rb") as content:
        while block := content.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def forget(link: Path) -> None:
    """Deletes a file of a snapshot with its content."""
    content = link.resolve()
    link.unlink()
    content.unlink(missing_ok=True)
