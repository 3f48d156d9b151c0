"""Hydra words to plain configurations: one resolved dictionary per variant of a run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from yaml import YAMLError

from i2v3d.artifacts.files import write_text
from i2v3d.errors import ConfigError, I2V3DError
from i2v3d.progress import track
from i2v3d.workflow.misspelt import explain
from i2v3d.workflow.repetition import spare_repetition
from i2v3d.workflow.sweeps import expand, named_apart, read_sweep
from i2v3d.workflow.untrusted import check_scene_file, chosen_files, is_untrusted, may_be_untrusted
from i2v3d.workflow.workplace import project_folder, set_up

T = TypeVar("T")
BASE = "base"
SILENT_S = 5.0  # of planning, without a word about how far it is
# Beside the files of conf/, what the resolvers below read.
RESOLVERS = (
    "workflow/composition.py",
    "workflow/untrusted.py",
    "toy/world/*.py",
    "toy/world/*.csv",
    "scene/photo/framing.py",
)
# Interpolations whose value is not decided by files and words.
CHANGING = re.compile(r"\$\{(oc\.env|now|hydra)\b")


@dataclass(frozen=True)
class Variant:
    """One configuration of a run. overrides: the Hydra words that made it; config: resolved plain data."""

    name: str
    overrides: tuple[str, ...]
    config: dict[str, Any]


def compose_here(words: Sequence[str]) -> dict[str, Any]:
    """The one configuration of `words` in the present folder. Raises ConfigError as `compose_variants`."""
    (variant,) = compose_variants(set_up(project_folder(), Path()), words)
    return variant.config


def compose_variants(
    conf: Path,
    words: Sequence[str],
    sweep: str | None = None,
    multirun: bool = False,
    memo: Path | None = None,
) -> list[Variant]:
    """Composes conf/config.yaml once per variant.

    words: Hydra overrides common to all variants. sweep: name of conf/sweep/<name>.yaml, a mapping from
    variant to its list of overrides (an empty list is the unchanged base). multirun: expand
    comma-separated values and ranges in `words` by Hydra's grammar, one variant a combination. memo: as of
    `Composer`. Raises ConfigError for anything that Hydra or the sweep file does not allow.
    """
    if sweep is not None and multirun:
        raise ConfigError("sweep=... and -m both make variants; use one of them")
    composer = Composer(conf, memo)
    if sweep is not None:
        named = read_sweep(conf, sweep)
        return [composer.variant(name, (*words, *extra)) for name, extra in _told(named.items())]
    if multirun:
        split = {changed: fixed for fixed, changed in expand(words)}
        names = named_apart(list(split))
        return [
            composer.variant(names[changed], (*fixed, *changed)) for changed, fixed in _told(split.items())
        ]
    return [composer.variant(BASE, tuple(words))]


def _told(variants: Collection[T]) -> Iterator[T]:
    """All of them, with a bar where that takes long."""
    return track(variants, desc="composing", unit="variant", total=len(variants), after_s=SILENT_S)


class Composer:
    """Composes `conf` with Hydra words; variants that choose the same files share the reading of them.

    memo: a folder that keeps what was composed, for the next process. An entry counts as long as no file of
    conf/ has changed, and nothing that a resolver reads.
    """

    def __init__(self, conf: Path, memo: Path | None) -> None:
        self._conf, self._memo = conf, memo
        outside = (file for file in _yaml_files(conf) if file.parent != conf / "scene")
        self._texts = [file.read_text(errors="replace") for file in outside]
        self._chosen: dict[tuple[str, ...], bytes] = {}
        if memo is not None:
            self._state, lasting = _state(conf)
            self._memo = memo if lasting else None

    def variant(self, name: str, words: Sequence[str]) -> Variant:
        """The configuration of these words. Raises ConfigError as `compose_variants`."""
        if self._memo is None or any(CHANGING.search(word) for word in words):
            return Variant(name, tuple(words), self._compose(tuple(words)))
        asked = json.dumps([self._state, list(words)])
        path = self._memo / f"{hashlib.sha256(asked.encode()).hexdigest()[:24]}.json"
        try:
            return Variant(name, tuple(words), json.loads(path.read_text()))
        except (OSError, ValueError):
            pass  # not composed before, or not to be read: composed anew
        config = self._compose(tuple(words))
        write_text(path, json.dumps(config), durable=False)  # composed anew after a power failure
        return Variant(name, tuple(words), config)

    def _compose(self, words: tuple[str, ...]) -> dict[str, Any]:
        from hydra._internal.config_loader_impl import ConfigLoaderImpl
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.errors import HydraException
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        spare_repetition()
        try:
            parsed = OverridesParser.create().parse_overrides(list(words))
            _check_one_scene(parsed)
            values = [word for word in parsed if _sets_value(self._conf, word)]
            files = tuple(str(word.input_line) for word in parsed if word not in values)
            if may_be_untrusted(parsed, self._texts):
                _check_trust(self._conf, parsed, files)
            if files not in self._chosen:
                self._chosen[files] = pickle.dumps(_composed(self._conf, files))
            composed = pickle.loads(self._chosen[files])  # a copy, in a sixth of the time of `copy.deepcopy`
            # As Hydra itself goes on once it has read the files.
            ConfigLoaderImpl._apply_overrides_to_config(values, composed)
            config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        except (HydraException, OmegaConfBaseException, YAMLError, RecursionError, ValueError) as error:
            if (reason := _own(error)) is not None:
                raise reason from None
            raise ConfigError(explain(self._conf, words, error)) from error
        assert isinstance(config, dict)
        return {str(key): value for key, value in config.items()}


def _check_one_scene(words: Sequence[Any]) -> None:
    """Raises ConfigError for a list of scenes, of which Hydra would make a mixture. words: parsed overrides."""
    for word in words:
        if word.key_or_group == "scene" and not word.is_sweep_override() and isinstance(word.value(), list):
            raise ConfigError(
                f"{word.input_line} names {len(word.value())} scenes, and a run has one; name one, or make a variant "
                "of each: i2v3d -m scene=coffee,toy"
            )


def _sets_value(conf: Path, word: Any) -> bool:
    """Whether a parsed override sets a value in what the files gave, rather than choosing a file."""
    key = word.key_or_group
    chooses = word.is_sweep_override() or word.package is not None or "/" in key
    return not (chooses or key.split(".")[0] == "hydra" or (conf / key).is_dir())


def _check_trust(conf: Path, words: Sequence[Any], files: Sequence[str]) -> None:
    """Raises ConfigError if the user distrusts a scene whose files set more than it. files: as of `_composed`."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(version_base="1.3", config_dir=str(conf.resolve())):
        scenes, others = chosen_files(conf, GlobalHydra.instance().config_loader(), files)
    if is_untrusted(words, others):
        for path, file in scenes.items():
            check_scene_file(path, file)


def _composed(conf: Path, words: tuple[str, ...]) -> Any:
    """What Hydra composes, its interpolations not resolved yet."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("toy_caption", _toy_caption, replace=True)
    OmegaConf.register_new_resolver("fitted_width", lambda *words: _fitted(*words)[0], replace=True)
    OmegaConf.register_new_resolver("fitted_height", lambda *words: _fitted(*words)[1], replace=True)
    with initialize_config_dir(version_base="1.3", config_dir=str(conf.resolve())):
        return compose("config", overrides=list(words))


def _yaml_files(conf: Path) -> list[Path]:
    """All files of the configuration, those in linked folders as well."""
    found = (Path(folder, name) for folder, _, names in os.walk(conf, followlinks=True) for name in names)
    return sorted(path for path in found if path.suffix == ".yaml")


def _state(conf: Path) -> tuple[str, bool]:
    """A hash of all files that decide what words become, and whether nothing else does."""
    package, yaml = Path(__file__).parents[1], _yaml_files(conf)
    digest, lasting = hashlib.sha256(), True
    for file in [*yaml, *(file for glob in RESOLVERS for file in sorted(package.glob(glob)))]:
        text = file.read_bytes()
        digest.update(f"{file}\n".encode() + text)
        lasting &= file.suffix != ".yaml" or not CHANGING.search(text.decode(errors="replace"))
    return digest.hexdigest(), lasting


def _own(error: BaseException | None) -> I2V3DError | None:
    """The error of this program that Hydra wrapped up in its own, if it did."""
    while error is not None and not isinstance(error, I2V3DError):
        error = error.__cause__ or error.__context__
    return error


def _fitted(width: Any, height: Any, aspect: Any) -> tuple[int, int]:
    """Resolves ${fitted_width:WIDTH,HEIGHT,ASPECT} and fitted_height: see `i2v3d.scene.photo.framing.fitted_size`."""
    from i2v3d.scene.photo.framing import fitted_size

    numbers = (width, height, aspect)
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in numbers):
        raise ConfigError(
            f"fitted size of {width!r} x {height!r} at aspect {aspect!r}: expected positive numbers"
        )
    return fitted_size(int(width), int(height), float(aspect))


def _toy_caption(seed: Any, variants: Any, index: Any) -> str:
    """Resolves ${toy_caption:SEED,VARIANTS,INDEX}: what a held-out clip of the toy world shows."""
    from i2v3d.toy.world.held_out import held_out_caption

    for key, value in {"seed": seed, "variants": variants, "index": index}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ConfigError(f"scene.{key} is {value!r}; expected a whole number, 0 or more")
    return held_out_caption(seed, variants, index)
