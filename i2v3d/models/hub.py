"""Repositories of published weights: what they offer, and bringing it into the local model cache.

The only module that reaches a network, and it is used by the command that fetches alone. Requests, retries and the
layout of the cache are huggingface_hub's; HF_ENDPOINT names a mirror.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from i2v3d.errors import MachineError, WeightsError
from i2v3d.models.hub_cache import cache_folder, digest_of, forget, place_of, verify
from i2v3d.models.needs import Need

log = logging.getLogger(__name__)

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Offered:
    """A file of a repository. size, here: bytes, and how many of them this machine has. sha256: of large files."""

    size: int
    here: int
    sha256: str | None


@dataclass(frozen=True)
class Offer:
    """What a repository has of a need: its commit, and its files by name."""

    need: Need
    commit: str
    files: dict[str, Offered]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def left(self) -> int:
        """Bytes that are not here yet."""
        return sum(file.size - file.here for file in self.files.values())


def offer(need: Need) -> Offer:
    """Asks the repository for what is needed of it; nothing is fetched, but a cached file of another size is deleted.

    Raises WeightsError if the repository, its revision or a file is not there, or not for this user, and
    MachineError if it cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects

    ref = need.ref
    with _explained(need):
        api = HfApi(endpoint=_endpoint())
        try:
            told = api.model_info(ref.source, revision=ref.revision, files_metadata=True)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:  # what it makes of a page, or of other JSON
            if isinstance(error, OSError):
                raise
            raise MachineError(
                f"{_endpoint()} does not answer as a hub of models does; log in to the network if it asks for that, "
                "check HF_ENDPOINT and proxies, or copy the files from another machine with --from FOLDER"
            ) from error
        if told.gated:
            api.auth_check(ref.source)
    siblings = {file.rfilename: file for file in told.siblings or ()}
    if lacking := need.lacking(list(siblings)):
        raise WeightsError(
            f"{ref.source} at {ref.revision or 'its newest revision'} has no {', '.join(lacking)}; correct source, "
            f"revision, subfolder or variant of {need.option}"
        )
    commit, files = str(told.sha), {}
    for name in filter_repo_objects(siblings, allow_patterns=need.patterns()):
        large = siblings[name].lfs
        sha256 = large.sha256 if large else None
        size = int(siblings[name].size or 0)
        files[name] = Offered(size, _here(place_of(ref.source), commit, name, size, sha256), sha256)
    return Offer(need, commit, files)


def _here(place: Path, commit: str, name: str, size: int, sha256: str | None) -> int:
    """Bytes of a file that need not be fetched any more; one of another size is deleted."""
    local = place / "snapshots" / commit / name
    if local.exists() and local.stat().st_size != size:
        log.warning("%s is truncated (%d of %d bytes): fetched anew", local, local.stat().st_size, size)
        forget(local)
    if local.exists():
        return size
    half = _half(place, sha256) if sha256 else local
    return min(half.stat().st_size, size) if half.is_file() else 0


def download(one: Offer) -> Path:
    """Brings what is not here yet and compares it with the repository's hashes; returns the snapshot's folder.

    Raises WeightsError or MachineError as `offer`; what has come stays, and the next call goes on from there.
    """
    from huggingface_hub import snapshot_download

    need = one.need
    left = [name for name, file in one.files.items() if file.here < file.size]
    with _explained(need):
        for name in left:
            if one.files[name].sha256:
                _transfer(one, name)
        folder = snapshot_download(
            need.ref.source,
            revision=need.ref.revision,
            allow_patterns=need.patterns(),
            endpoint=_endpoint(),
        )
    verify(Path(folder), [name for name in left if not one.files[name].sha256], delete=True)
    return Path(folder)


def _transfer(one: Offer, name: str) -> None:
    """Fetches a large file's content into the cache, from where an earlier call was interrupted.

    `snapshot_download` itself begins each file anew. Raises WeightsError if what came is not what the repository has.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    repository, file, place = one.need.ref.source, one.files[name], place_of(one.need.ref.source)
    blob, half = place / "blobs" / str(file.sha256), _half(place, str(file.sha256))
    half.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(half.with_suffix(".lock")):
        if not blob.is_file():
            url = hf_hub_url(repository, name, revision=one.commit, endpoint=_endpoint())
            with half.open("ab") as content:
                if content.tell() < file.size:
                    http_get(
                        url,
                        content,
                        resume_size=content.tell(),
                        headers=build_hf_headers(),
                        expected_size=file.size,
                        displayed_filename=f"{repository} {name}",
                    )
            if digest_of(half, str(file.sha256)) != file.sha256:
                half.unlink()
                raise WeightsError(
                    f"{name} as it came is not what {repository} has (its hash differs), and was deleted; run the same "
                    "command again"
                )
            half.replace(blob)


def _half(place: Path, sha256: str) -> Path:
    """Where a large file's content lies until it is whole."""
    return place / "blobs" / f"{sha256}.half"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")


@contextmanager
def _explained(need: Need) -> Iterator[None]:
    """Turns what huggingface_hub raises into one line with what to do."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except (OSError, httpx2.HTTPError, errors.EntryNotFoundError) as error:
        wrapped = isinstance(error, errors.LocalEntryNotFoundError)
        raise _told(need, (error.__cause__ if wrapped else None) or error) from error


def _told(need: Need, error: BaseException) -> WeightsError | MachineError:
    """What the user reads of a failure."""
    from huggingface_hub import errors

    repo, hub = need.ref.source, _endpoint()
    if isinstance(error, errors.GatedRepoError):
        return WeightsError(
            f"{repo} is given to users who accept its licence ({need.ref.licence}): accept it on {hub}/{repo}, then "
            "log in with: hf auth login (or set HF_TOKEN), and run the same command again"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return WeightsError(
            f"{repo} is not on {hub}, or not for you; correct {need.option}.source, or log in with: hf auth login"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return WeightsError(f"{repo} has no revision {need.ref.revision}; correct {need.option}.revision")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        return MachineError(
            f"{cache_folder()} cannot be written ({error.strerror}); free its disk, or set HF_HOME to another folder"
        )
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
        return WeightsError(
            f"{hub} refuses {repo} with code {error.response.status_code}; log in anew with: hf auth login (or correct "
            "HF_TOKEN), and check proxies"
        )
    reason = str(error).strip().splitlines()
    return MachineError(
        f"{hub} cannot be reached ({reason[0] if reason else type(error).__name__}); check the network, HF_ENDPOINT "
        "and HF_HUB_OFFLINE, or copy the files from another machine with --from FOLDER; the same command goes on "
        "from what is here"
    )
