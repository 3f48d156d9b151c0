"""What a stage says of itself to the workflow: what it reads, is configured by and needs from the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, get_args, get_type_hints

from i2v3d.config.stages import Source


@dataclass(frozen=True)
class Machine:
    """What one job of a stage asks for. threads: of the CPU; gpus: cards; minutes: of time; memory_mb: of memory,
    None for what the models need (runtime.memory_mb); beside: whether a variant has other jobs that may run meanwhile.
    """

    threads: int
    minutes: int
    memory_mb: int | None
    gpus: int = 0
    beside: bool = False


NETWORKS = partial(Machine, threads=4, memory_mb=None, gpus=1)


@dataclass(frozen=True)
class Stage:
    """One node of the graph. entry: 'module:name', imported only by the job itself. config: the type of its
    configuration, whose fields say where they come from (`i2v3d.config.stages`), unless `section` names the one section
    of the composed configuration that it is. machine: what a job needs. publishes: the files (patterns) in its folder
    that stand for its result.

    needs: stages that it always reads; choices: option (dotted, in its own configuration) -> value -> stages
    that it reads besides; also: stages that it reads where the variant runs them anyway. files: dotted paths
    of options that name a file (* stands for every entry of a list), weights: of sections that hold weight
    references; scenes may lack both. families: of video models that it can use, all if none are said.
    per_segment: one job for every pair of neighbouring keyframes.
    whole_if: of a stage whose items do not depend on each other, so that several jobs (runtime.shards) may make
    shares of them first: the option that, where it is not null, leaves nothing to share. None: never shared.
    chained: option and values with which a segment also reads the segment before it, as 'previous'.
    stride: frames of a segment beside its first one come in multiples of so many.
    """

    name: str
    version: int
    help: str
    entry: str
    config: type
    machine: Machine
    publishes: tuple[str, ...]
    section: str | None = None
    needs: tuple[str, ...] = ()
    choices: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    per_segment: bool = False
    chained: tuple[str, tuple[str, ...]] | None = None
    whole_if: str | None = None
    stride: int = 1

    @cached_property
    def sources(self) -> dict[str, tuple[Source, type | None]]:
        """Option -> where it comes from, and the section type that validates it (None: a plain value).

        The single option '' stands for the whole configuration.
        """
        if self.section is not None:
            return {"": (Source(self.section), self.config)}
        found: dict[str, tuple[Source, type | None]] = {}
        for name, hint in get_type_hints(self.config, include_extras=True).items():
            for source in (said for said in getattr(hint, "__metadata__", ()) if isinstance(said, Source)):
                own = get_args(hint)[0]
                found[name] = (source, own if isinstance(own, type) and is_dataclass(own) else None)
        return found

    def reads(self, cut: Mapping[str, Any]) -> tuple[str, ...]:
        """The stages that a node with this configuration reads."""
        chosen = (stages[_get(cut, option)] for option, stages in self.choices.items())
        return tuple(dict.fromkeys([*self.needs, *chain.from_iterable(chosen)]))

    def can_read(self) -> frozenset[str]:
        """The stages that it reads under some configuration."""
        chosen = (names for stages in self.choices.values() for names in stages.values())
        return frozenset([*self.needs, *chain.from_iterable(chosen)])

    def is_chained(self, cut: Mapping[str, Any]) -> bool:
        """Whether a segment of a node with this configuration also reads the segment before it."""
        return self.chained is not None and _get(cut, self.chained[0]) in self.chained[1]

    def is_shared(self, cut: Mapping[str, Any]) -> bool:
        """Whether other jobs may make shares of a node with this configuration."""
        return self.whole_if is not None and _get(cut, self.whole_if) is None

    def full_name(self, option: str) -> str:
        """An option of the stage's own configuration, dotted, as the composed configuration names it."""
        if self.section is not None:
            return f"{self.section}.{option}"
        first, dot, rest = option.partition(".")
        return f"{self.sources[first][0].path}{dot}{rest}"

    def named_files(self, cut: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """(path, option) of every file or local folder whose contents the stage's results depend on.

        Textures and the like that a mesh or a .blend refers to count as well. Weights of a repository are identified by
        its id and revision in the configuration instead.
        """
        for path, option in self.stated_files(cut):
            yield path, option
            if option.endswith(("mesh", "mesh.file")):
                yield from ((str(file), option) for file in _companions(path, cut["max_faces"]))
            elif option == "blend":
                yield from ((str(file), option) for file in _referenced(path))

    def stated_files(self, cut: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """(path, option) of what the configuration itself names; nothing is read."""
        for option in self.files:
            yield from _files(cut, option.split("."), "")
        for option in self.weights:
            for name, reference in (_get(cut, option) or {}).items():
                if (
                    isinstance(reference, Mapping)
                    and "source" in reference
                    and Path(reference["source"]).exists()
                ):
                    yield reference["source"], f"{option}.{name}.source"


def _companions(mesh: str, max_faces: int) -> tuple[Path, ...]:
    """Textures, material libraries and buffers that a mesh refers to. Raises InputError for a broken mesh."""
    from i2v3d.scene.mesh_files import check_mesh

    return check_mesh(Path(mesh), max_faces).companions


def _referenced(blend: str) -> tuple[Path, ...]:
    """Pictures, libraries and caches that a .blend refers to. Raises InputError for one that cannot be read."""
    from i2v3d.scene.blend_files import referenced_files

    return referenced_files(Path(blend))


def _files(value: Any, parts: Sequence[str], option: str) -> Iterator[tuple[str, str]]:
    """(path, option) of what `parts` lead to, where it is there and not None."""
    if not parts:
        if value is not None:
            yield value, option
    elif parts[0] == "*":
        for number, entry in enumerate(value or ()):
            yield from _files(entry, parts[1:], f"{option}[{number}]")
    elif isinstance(value, Mapping) and parts[0] in value:
        yield from _files(value[parts[0]], parts[1:], f"{option}.{parts[0]}".lstrip("."))


def _get(cut: Mapping[str, Any], option: str) -> Any:
    """What stands at a dotted path; None if nothing does."""
    value: Any = cut
    for part in option.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
