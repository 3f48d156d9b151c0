"""From a reference in the configuration to a local folder and a loaded network; never downloads."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from i2v3d.config.weights import WeightsRef
from i2v3d.errors import WeightsError

if TYPE_CHECKING:
    import torch  # seconds that planning, which looks for weights too, need not wait

    from i2v3d.models.direct_loading import Reading

log = logging.getLogger(__name__)

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def resolve(ref: WeightsRef) -> Path:
    """The local folder of `ref`: an existing folder, else the repository's snapshot in the local cache.

    The subfolder is included. Raises WeightsError, with the command that fetches it, if neither is there.
    """
    folder = Path(ref.source).expanduser()
    if not folder.is_dir():
        folder = _snapshot(ref)
    if ref.subfolder is not None:
        folder = folder / ref.subfolder
    if not folder.is_dir():
        raise missing(ref, ref.subfolder or "the folder")
    return folder


def _snapshot(ref: WeightsRef) -> Path:
    """The folder of a repository's pinned revision in the local model cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        IncompleteSnapshotError,
        LocalEntryNotFoundError,
    )

    if not _REPOSITORY.fullmatch(ref.source):
        raise missing(ref, ref.source)
    try:
        return Path(snapshot_download(ref.source, revision=ref.revision, local_files_only=True))
    except (
        IncompleteSnapshotError
    ) as partial:  # only what is needed was fetched; what is missing of that is told later
        return Path(partial.snapshot_path)
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise missing(ref, "the snapshot") from error


def fetch_command(ref: WeightsRef) -> str:
    """The command line that fetches the files that are needed of a repository, and no others."""
    folder = f"{ref.subfolder}/" if ref.subfolder else ""
    weights = f"*.{ref.variant}.safetensors" if ref.variant else "*.safetensors"
    wanted = " ".join(f"'{folder}{pattern}'" for pattern in ("*.json", "*.txt", weights))
    revision = f" --revision {ref.revision}" if ref.revision else ""
    return f"hf download {ref.source}{revision} --include {wanted}"


def missing(ref: WeightsRef, what: str) -> WeightsError:
    """The error about weights that are not on this machine, with what fetches them."""
    if Path(ref.source).expanduser().is_dir():
        return WeightsError(f"{ref.source} lacks {what}; restore the folder or set the source of the model")
    if not _REPOSITORY.fullmatch(ref.source):
        return WeightsError(
            f"weights folder {ref.source} does not exist; restore it or set the source of the model"
        )
    return WeightsError(
        f"{what} of {ref.source} at {ref.revision or 'its newest revision'} is not in the local model cache "
        f"({ref.size_gb:g} GB, licence: {ref.licence}); fetch it with i2v3d fetch and the same words, or with: "
        f"{fetch_command(ref)}"
    )


def check_safetensors(ref: WeightsRef, folder: Path) -> None:
    """Reads the headers of the safetensors files in `folder`.

    Raises WeightsError if there is none of the wanted variant, or naming the first one that is corrupt.
    """
    suffix = f".{ref.variant}" if ref.variant else ""
    files = sorted(p for p in folder.glob("*.safetensors") if not ref.variant or suffix in p.name)
    if not files:
        raise missing(ref, f"{folder.name}/*{suffix}.safetensors")
    for file in files:
        try:
            with safe_open(file, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{file} is corrupt ({error}); delete it and {refetch(ref)}") from error


def refetch(ref: WeightsRef) -> str:
    """What to do about weights that are there but broken."""
    if Path(ref.source).expanduser().is_dir():
        return "restore it from where the folder came from"
    return "fetch it again with i2v3d fetch and the same words"


class Loading:
    """A diffusers or transformers network from `ref` on its way to `device`, in `dtype`.

    part: the pipeline folder's component, such as "unet"; None if the folder is the network's own. own_memory: every
    tensor has memory of its own also on the CPU, where libraries keep views of a file. Begin several before finishing
    the first: then files are read while networks are built.
    Raises WeightsError if files are missing or corrupt.
    """

    def __init__(
        self,
        cls: Any,
        ref: WeightsRef,
        part: str | None,
        device: str,
        dtype: torch.dtype,
        *,
        own_memory: bool = False,
        **options: Any,
    ) -> None:
        root = resolve(ref)
        self._folder = root / part if part else root
        if not self._folder.is_dir():
            raise missing(ref, str(part))
        check_safetensors(ref, self._folder)
        self._cls, self._ref, self._device, self._dtype, self._options = cls, ref, device, dtype, options
        self._own_memory = own_memory
        wanted = (own_memory or device.startswith("cuda")) and not options
        self._reading = self._read() if wanted else None

    def _read(self) -> Reading | None:
        from i2v3d.models.direct_loading import begin_reading, files_of

        files = files_of(self._cls, self._folder, self._ref.variant)
        return begin_reading(files, self._device, self._dtype, self._folder)

    def finish(self) -> Any:
        """The network: frozen, in eval mode. Raises WeightsError if files are of another architecture."""
        network = self._built()
        if network is None:
            network = self._loaded().to(self._device)
            if self._own_memory:
                for tensor in (*network.parameters(), *network.buffers()):
                    tensor.data = tensor.data.clone()
        network = network.eval().requires_grad_(False)
        told = str(self._dtype).removeprefix("torch.")
        log.info("loaded %s from %s: %s on %s", self._cls.__name__, self._folder, told, self._device)
        return network

    def _built(self) -> Any:
        """The network of the files that are being read; None if the library's loader has to do it."""
        if self._reading is None:
            return None
        from i2v3d.models.direct_loading import build

        reading, self._reading = self._reading, None
        import torch

        try:
            return build(self._cls, self._folder, reading)
        except torch.OutOfMemoryError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            log.info(
                "%s is left to the library's loader: %s", self._folder, " ".join(str(error).split())[:160]
            )
            return None

    def _loaded(self) -> Any:
        """The network as its library loads it."""
        cls, folder, ref = self._cls, self._folder, self._ref
        try:
            network, report = cls.from_pretrained(
                folder,
                torch_dtype=self._dtype,
                variant=ref.variant,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **self._options,
            )
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise WeightsError(f"{folder} is no {cls.__name__}: {first}; {refetch(ref)}") from error
        lacking = sorted([*report["missing_keys"], *report["mismatched_keys"]], key=str)
        if lacking:
            raise WeightsError(
                f"{folder} is no {cls.__name__} of its own config: lacks {lacking[0]}; {refetch(ref)}"
            )
        return network


def load_network(
    cls: Any, ref: WeightsRef, part: str | None, device: str, dtype: torch.dtype, **options: Any
) -> Any:
    """A diffusers or transformers network from `ref`: on `device`, in `dtype`, frozen, in eval mode; see `Loading`.

    Raises WeightsError if files are missing, corrupt, or of another architecture.
    """
    return Loading(cls, ref, part, device, dtype, **options).finish()
