"""Files of other people's scenes, before anything is composed of them: they set values of `scene` and nothing else.

What the composed values name and run is judged afterwards, by `i2v3d.workflow.confinement`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import yaml

from i2v3d.errors import ConfigError

OPTION = "untrusted_scene"
GROUP = "scene"
PACKAGES = (None, GROUP, "_group_")
# The only values of others, and the only functions, that a scene may ask for: none reads a file or the environment.
READABLE = ("scene", "models", "perception", "seed")
RESOLVERS = ("toy_caption", "fitted_width", "fitted_height")
SAYS_SO = re.compile(rf"\b{OPTION}['\"]?\s*:(?!\s*false\b)")
VALUE = re.compile(rf"\$\{{(?:(\.+)|(?:{'|'.join(READABLE)})(?:\.|(?=\}})))[\w.]*\}}")
CALL = re.compile(rf"\$\{{({'|'.join(RESOLVERS)}):")
MOST_VALUES = 10_000  # that anchors may make of a few lines
UNLESS = "or run without untrusted_scene=true if you trust it"


def is_untrusted(words: Sequence[Any], files: Sequence[Any]) -> bool:
    """Whether the user distrusts the scene.

    words: Hydra's parsed ones, of which the last counts. files: what the chosen files beside the scene's set, as Hydra
    loads them, in order; a scene has no say.
    """
    said = [file.config[OPTION] for file in files if OPTION in file.config]
    said += [word.value() for word in words if word.key_or_group == OPTION]
    return bool(said) and said[-1] is not False


def may_be_untrusted(words: Sequence[Any], texts: Iterable[str]) -> bool:
    """Whether it is worth to ask `is_untrusted`, which reads all files. texts: of files beside the scenes'."""
    said = [word.value() for word in words if word.key_or_group == OPTION]
    return said[-1] is not False if said else any(SAYS_SO.search(text) for text in texts)


def check_text(path: Path, where: str) -> None:
    """Raises ConfigError for a scene's file that does harm while it is read, before `check_scene_file` can see it.

    That is: a few lines whose anchors stand for millions of values, and defaults that are looked up in the environment.
    What is no YAML is left to its reader. where: the file, as the user knows it.
    """
    text = path.read_text(errors="replace")
    if "&" not in text and "${" not in text:
        return
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:
        return
    if _values(root, {}) > max(MOST_VALUES, len(text)):
        raise ConfigError(f"{where} stands for too many values by its anchors; write them out, {UNLESS}")
    for key, entry in root.value if isinstance(root, yaml.MappingNode) else ():
        told = next((node.value for node in _scalars(entry) if "${" in node.value), None)
        if key.value == "defaults" and told is not None:
            raise ConfigError(
                f"{where} has the default {told[:60]!r}; name the scene itself, such as photo, {UNLESS}"
            )


def _values(node: Any, counted: dict[int, float]) -> float:
    """How many values a node stands for, those of anchors as often as they are named; infinite for a circle."""
    if id(node) not in counted:
        counted[id(node)] = inf
        counted[id(node)] = 1 + sum(_values(below, counted) for below in _below(node))
    return counted[id(node)]


def _scalars(node: Any) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    for below in _below(node):
        yield from _scalars(below)


def _below(node: Any) -> list[yaml.Node]:
    """The nodes right below one of YAML's."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def chosen_files(conf: Path, loader: Any, words: Sequence[str]) -> tuple[dict[str, Any], list[Any]]:
    """The files that Hydra would compose with these words: those of the scene by path, and the others.

    loader: Hydra's, of `conf`. Whatever a scene's file brings along counts as the scene. Nothing is composed. Raises
    ConfigError as `check_text`.
    """
    from hydra._internal.config_repository import ConfigRepository
    from hydra.types import RunMode

    class Checked(ConfigRepository):
        def load_config(self, config_path: str) -> Any:
            name = f"{config_path.removesuffix('.yaml')}.yaml"
            if name.startswith(f"{GROUP}/") and (conf / name).is_file():
                check_text(conf / name, f"conf/{name}")
            return super().load_config(config_path)

    loader.repository = Checked(loader.config_search_path)
    defaults = loader.compute_defaults_list("config", list(words), RunMode.RUN).defaults
    paths = [(d.config_path, d.parent) for d in defaults if d.config_path is not None]
    of_scene = {path for path, _ in paths if path.startswith(f"{GROUP}/")}
    while more := {path for path, parent in paths if parent in of_scene} - of_scene:
        of_scene |= more
    scenes = {path: loader.repository.load_config(path) for path in sorted(of_scene)}
    others = [path for path, _ in paths if path not in of_scene and not path.startswith("hydra/")]
    return scenes, [loader.repository.load_config(path) for path in others]


def check_scene_file(path: str, file: Any) -> None:
    """Raises ConfigError if a scene's file, as Hydra loads it from `path`, reaches out of its section.

    That is: another package than its own, defaults that are no scene, or interpolations that read anything but
    values of scene and models.
    """
    from omegaconf import OmegaConf

    where = f"conf/{path.removesuffix('.yaml')}.yaml"
    package = file.header.get("package")
    if package not in PACKAGES:
        raise ConfigError(
            f"{where} says '# @package {package}' and would set values outside scene; delete that line, {UNLESS}"
        )
    content = OmegaConf.to_container(file.config, resolve=False)
    assert isinstance(content, Mapping)
    for entry in file.defaults_list or ():
        name = entry.get_name() if type(entry).__name__ == "ConfigDefault" else None
        if name is None or entry.package is not None or not re.fullmatch(r"_self_|\w[\w-]*", str(entry.path)):
            raise ConfigError(
                f"{where} has the default {_told(entry)}; a scene may name other scenes only, such as photo: "
                f"delete it, {UNLESS}"
            )
    for option, depth, text in _texts(content, GROUP, 0):
        for start in (match.start() for match in re.finditer(r"\$\{", text)):
            value = VALUE.match(text, start)
            inside = value is not None and len(value[1] or "") <= depth  # each further dot is a step up
            if not inside and not CALL.match(text, start):
                raise ConfigError(
                    f"{option} in {where} holds {text[:60]!r}; a scene may read {', '.join(READABLE)} only, as "
                    f"${{scene.frames}}: write the value itself, {UNLESS}"
                )


def _texts(value: Any, option: str, depth: int) -> Iterator[tuple[str, int, str]]:
    """(option, how deep below the scene, text) of every text in plain data, keys included."""
    if isinstance(value, str):
        yield option, depth, value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield f"{option}.{key}", depth + 1, str(key)
            yield from _texts(entry, f"{option}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield from _texts(entry, f"{option}[{number}]", depth + 1)


def _told(entry: Any) -> str:
    """A default as the file says it, shortly."""
    group = getattr(entry, "group", None)
    value = getattr(entry, "path", None) or getattr(entry, "value", None)
    return repr(f"{group}: {value}" if group else str(value))
