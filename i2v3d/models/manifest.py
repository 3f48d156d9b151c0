"""What the weights of a family hold, known beforehand: networks, parameter names, shapes. Needs no torch.

`manifests/FAMILY.json` has them of the published families, written by `i2v3d.models.architectures`: equal subtrees of
names stand once, under all the names that they have ("0 1 2"), which makes a page of 1700 parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from i2v3d.config.weights import WeightsRef
from i2v3d.errors import WeightsError
from i2v3d.models.needs import Need, Part
from i2v3d.models.weights import refetch, resolve

Shapes = Mapping[str, tuple[int, ...]]
# Names of older files that the loaders of diffusers and transformers take for today's.
FORMER_NAMES = (
    (re.compile(r"^text_model\."), ""),
    (re.compile(r"\.query\."), ".to_q."),
    (re.compile(r"\.key\."), ".to_k."),
    (re.compile(r"\.value\."), ".to_v."),
    (re.compile(r"\.proj_attn\."), ".to_out.0."),
)


@dataclass(frozen=True)
class Known:
    """A network of a manifest. config: what its config.json says if it is of this architecture."""

    config: Mapping[str, Any]
    shapes: Shapes


@dataclass(frozen=True)
class Manifest:
    """networks: 'OPTION/FOLDER' -> what lies there. unconfirmed: what nobody has compared with the published files."""

    networks: Mapping[str, Known]
    unconfirmed: tuple[str, ...]


def load_manifest(family: str) -> Manifest:
    """The stored manifest of a family; an empty one of a family that has none."""
    file = resources.files("i2v3d.models") / "manifests" / f"{family}.json"
    if not file.is_file():
        return Manifest({}, ())
    data = json.loads(file.read_text(encoding="utf-8"))
    networks = {
        name: Known(one["config"], dict(unfolded(one["tensors"]))) for name, one in data["networks"].items()
    }
    return Manifest(networks, tuple(data["unconfirmed"]))


def folded(shapes: Shapes) -> dict[str, Any]:
    """Names and shapes as a tree of the names' parts, whose equal branches are one."""
    children: dict[str, dict[str, tuple[int, ...]]] = {}
    leaves: dict[str, Any] = {}
    for name, shape in shapes.items():
        first, _, rest = name.partition(".")
        if rest:
            children.setdefault(first, {})[rest] = shape
        else:
            leaves[first] = list(shape)
    branches = leaves | {name: folded(below) for name, below in children.items()}
    names: dict[str, list[str]] = {}
    for name, branch in branches.items():
        names.setdefault(json.dumps(branch, sort_keys=True), []).append(name)
    return {" ".join(equal): json.loads(branch) for branch, equal in names.items()}


def unfolded(tree: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes that `folded` made a tree of."""
    for names, branch in tree.items():
        for name in names.split(" "):
            if isinstance(branch, Mapping):
                yield from ((f"{name}.{rest}", shape) for rest, shape in unfolded(branch))
            else:
                yield name, tuple(branch)


def check_files(need: Need) -> Path:
    """The folder of the weights. Raises WeightsError if they, or any file that is read of them, are missing."""
    root = resolve(need.ref)
    below = f"{need.ref.subfolder}/" if need.ref.subfolder else ""
    there = [below + str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    if lacking := need.lacking(there):
        names = ", ".join(name.removeprefix(below) for name in lacking)
        raise WeightsError(f"{need.option}: {root} lacks {names}; {refetch(need.ref)}")
    return root


def check_headers(need: Need, manifest: Manifest) -> Path:
    """The folder of the weights, once the headers of all of them are read, and nothing else of them.

    Raises WeightsError as `check_files`, for a file that is truncated or no safetensors file, and for one that lacks
    a parameter, or has one of another shape, than the manifest says of a network with its config.json.
    """
    root = check_files(need)
    for part in need.parts:
        if part.network is not None:
            found = read_shapes(need.ref, root / part.folder, part)
            known = manifest.networks.get(f"{need.option}/{part.folder}")
            if known is not None and is_of(known, root / part.folder / "config.json"):
                compare(known.shapes, found, root / part.folder, part.network, need.ref)
    return root


def read_shapes(ref: WeightsRef, folder: Path, part: Part) -> dict[str, tuple[int, ...]]:
    """Parameter -> shape of the weights in `folder`. Raises WeightsError for a truncated or foreign file."""
    found: dict[str, tuple[int, ...]] = {}
    for pattern in part.weight_files(ref.variant):
        for file in sorted(folder.glob(pattern)):
            try:
                with safe_open(file, framework="numpy") as content:
                    found |= {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118
            except (SafetensorError, OSError) as error:
                raise WeightsError(f"{file} is truncated or corrupt ({error}); {refetch(ref)}") from error
    return found


def is_of(known: Known, config: Path) -> bool:
    """Whether a config.json says, in all fields that it has of them, what the manifest does. Raises WeightsError."""
    try:
        said = dict(json.loads(config.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{config} cannot be read ({error}); fetch or copy the weights again") from error
    return all(said.get(field, value) == value for field, value in known.config.items())


def compare(wanted: Shapes, found: Shapes, folder: Path, network: str, ref: WeightsRef) -> None:
    """Raises WeightsError for the first parameter that `folder` lacks or has in another shape."""
    there = {_todays(name): shape for name, shape in found.items()}
    for name, shape in wanted.items():
        got = there.get(_todays(name))
        if got != shape:
            what = "lacks it" if got is None else f"has {list(got)}"
            raise WeightsError(
                f"{folder} does not hold a {network} of its config.json: {name} should be {list(shape)}, the file "
                f"{what}; {refetch(ref)}"
            )


def _todays(name: str) -> str:
    for former, today in FORMER_NAMES:
        name = former.sub(today, name)
    return name
