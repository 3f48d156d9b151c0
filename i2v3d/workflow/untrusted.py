"""Files of other people's scenes, before anything is composed of them: they set values of `scene` and nothing else.

What the composed values name and run is judged afterwards, by `i2v3d.workflow.confinement`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from i2v3d.errors import ConfigError

OPTION = "untrusted_scene"
GROUP = "scene"
PACKAGES = (None, GROUP, "_group_")
# The only values of others, and the only functions, that a scene may ask for: none reads a file or the environment.
READABLE = ("scene", "models", "perception", "seed")
RESOLVERS = ("toy_caption", "fitted_width", "fitted_height")
SAYS_SO = re.compile(rf"\b{OPTION}['\"]?\s*:(?!\s*false\b)")
VALUE = re.compile(rf"\$\{{(\.|({'|'.join(READABLE)})(\.|(?=\}})))[\w.]*\}}")
CALL = re.compile(rf"\$\{{({'|'.join(RESOLVERS)}):")
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
    return any(word.key_or_group == OPTION for word in words) or any(SAYS_SO.search(text) for text in texts)


def chosen_files(loader: Any, words: Sequence[str]) -> tuple[dict[str, Any], list[Any]]:
    """The files that Hydra would compose with these words: those of the scene by path, and the others.

    loader: Hydra's. Whatever a scene's file brings along counts as the scene. Nothing is composed.
    """
    from hydra.types import RunMode

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
    for option, text in _texts(content, GROUP):
        for start in (match.start() for match in re.finditer(r"\$\{", text)):
            if not VALUE.match(text, start) and not CALL.match(text, start):
                raise ConfigError(
                    f"{option} in {where} holds {text[:60]!r}; a scene may read {', '.join(READABLE)} only, as "
                    f"${{scene.frames}}: write the value itself, {UNLESS}"
                )


def _texts(value: Any, option: str) -> Iterator[tuple[str, str]]:
    """(option, text) of every text in plain data, keys included."""
    if isinstance(value, str):
        yield option, value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield f"{option}.{key}", str(key)
            yield from _texts(entry, f"{option}.{key}")
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield from _texts(entry, f"{option}[{number}]")


def _told(entry: Any) -> str:
    """A default as the file says it, shortly."""
    group = getattr(entry, "group", None)
    value = getattr(entry, "path", None) or getattr(entry, "value", None)
    return repr(f"{group}: {value}" if group else str(value))
