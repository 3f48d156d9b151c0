"""From what a user asked of snakemake to a written plan: composed, validated, checked, frozen."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2v3d.config.names import check_name
from i2v3d.errors import ConfigError, nearest
from i2v3d.stages.registry import STAGES
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.fingerprint import Fingerprints
from i2v3d.workflow.finished import OWN
from i2v3d.workflow.misspelt import check_choice
from i2v3d.workflow.plan import PREVIEWED, Plan, make_plan, settings_path, write_plan
from i2v3d.workflow.preflight import check_plan, out_of_its_world

log = logging.getLogger(__name__)

OPTIONS = ("overrides", "sweep", "multirun", "cache", "benchmark")
LONGEST_PART = 255  # bytes of a folder's name on all usual disks
LONGEST_PATH = 3000  # bytes of a path, of which Linux takes 4095 with the file's name
# Of the folder that a run is started in, and not for others' files: results/ has runs, and folders with a dot.
OWN_FOLDERS = ("conf", "scenes", "weights", ".snakemake", str(OWN))


@dataclass(frozen=True)
class Asked:
    """What `snakemake --config` says. conf: folder of the configuration; cache: of the results; said: `overrides`,
    Hydra's words; sweep: file of conf/sweep; multirun: whether the words hold sweeps; benchmark: file of
    conf/benchmark; settings: where the plan puts what its jobs need beside their nodes."""

    conf: Path
    cache: Path
    said: object
    sweep: str | None
    multirun: bool
    benchmark: str
    settings: Path

    @staticmethod
    def read(config: Mapping[str, Any], conf: Path) -> Asked:
        """Raises ConfigError for an option that does not exist or cannot be what it is."""
        for name in config:
            if name not in OPTIONS:
                raise ConfigError(f"--config {name} is unknown; {nearest(str(name), OPTIONS)}")
        cache = _cache(config.get("cache", "results/.cache"))
        sweep = config.get("sweep")
        return Asked(
            conf=conf,
            cache=cache,
            said=config.get("overrides", []),
            sweep=None if sweep is None else check_name(sweep, "--config sweep"),
            multirun=_switch(config.get("multirun", False)),
            benchmark=_benchmark(config["benchmark"], conf) if "benchmark" in config else "benchmark",
            settings=settings_path(OWN, config),
        )

    @property
    def words(self) -> tuple[str, ...]:
        """Hydra's words. Raises ConfigError unless `overrides` is a line or a list of them, of letters."""
        words = self._words()
        for word in words:
            try:
                word.encode()
            except UnicodeEncodeError as error:  # what Python makes of bytes that are no letters
                raise ConfigError(
                    f"--config overrides has {ascii(word)[:100]}, which is no UTF-8; type it in a terminal that uses "
                    "UTF-8"
                ) from error
        return words

    def _words(self) -> tuple[str, ...]:
        """As `words`, which may hold bytes that are no letters."""
        said = self.said
        if isinstance(said, str):
            try:
                return tuple(shlex.split(said))
            except ValueError as error:
                raise ConfigError(
                    f"--config overrides={said!r} cannot be read ({error}); close the quotation, or give a list "
                    "such as overrides='[\"scene.prompt=a cup\"]'"
                ) from error
        if isinstance(said, list | tuple) and all(isinstance(word, str) for word in said):
            return tuple(said)
        raise ConfigError(
            f"--config overrides is {said!r}; expected Hydra words, such as overrides='scene=coffee seed=1'"
        )


def _switch(value: object) -> bool:
    """What multirun=... says."""
    if str(value).lower() not in ("true", "false"):
        raise ConfigError(f"--config multirun is {value!r}; expected true or false")
    return str(value).lower() == "true"


def _benchmark(value: object, conf: Path) -> str:
    """The file of conf/benchmark that benchmark=... names, whether or not this run reads it."""
    name = check_name(value, "--config benchmark")
    check_choice(conf, "benchmark", name)
    return name


def _cache(value: object) -> Path:
    """The folder of cache=...; snakemake would take braces for wildcards.

    Raises ConfigError for what is no folder of its own: none, or one that holds where this runs.
    """
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    parts = Path(text).parts
    if not text.strip() or not text.isprintable() or set(text) & set("{}"):
        raise ConfigError(f"--config cache is {value!r}; expected a folder, such as cache=/scratch/me/i2v3d")
    long = len(text.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_PART for part in parts)
    if long or any(part != part.strip() for part in parts):
        raise ConfigError(
            f"--config cache is {text[:80]!r}; expected folder names of at most {LONGEST_PART} bytes, {LONGEST_PATH} "
            "together, that neither begin nor end in blanks"
        )
    with suppress(OSError):  # of what lies in somebody else's folder, writing says so
        if above := next((part for part in (Path(text), *Path(text).parents) if part.is_file()), None):
            raise ConfigError(f"--config cache is {text!r}, but {above} is a file; name a folder")
    folder = Path(text).expanduser()
    if (mixed := _mixed_with(folder.resolve(), Path.cwd())) is not None:
        raise ConfigError(
            f"--config cache={text} would mix finished stages with the files of {mixed}; "
            "name a folder of their own, such as cache=results/.cache"
        )
    return folder


def _mixed_with(cache: Path, here: Path) -> Path | None:
    """The folder whose files a cache would lie among: one that holds `here`, or one of those that runs write to."""
    if here.is_relative_to(cache):
        return cache
    own = next((here / name for name in OWN_FOLDERS if cache.is_relative_to((here / name).resolve())), None)
    results = (here / "results").resolve()
    of_runs = cache == results or (
        cache.is_relative_to(results) and not cache.relative_to(results).parts[0].startswith(".")
    )
    return own or (results if of_runs else None)


def plan_run(asked: Asked, stages: Sequence[str] = tuple(STAGES)) -> Plan:
    """Composes, validates, checks and writes the plan of `stages`; nothing is written of a plan with a mistake.

    Warns of scenes that the models cannot paint, unless only a preview is asked for.
    Raises ConfigError, InputError, WeightsError or MachineError as `make_plan` and `check_plan`.
    """
    memo = asked.cache / "plan" / "compositions"
    variants = compose_variants(asked.conf, asked.words, asked.sweep, asked.multirun, memo)
    fingerprints = Fingerprints(asked.cache / "plan" / "fingerprints.json")
    plan = make_plan(variants, fingerprints, stages)
    check_plan(plan, asked.cache)
    if set(stages) - set(PREVIEWED):
        told = (out_of_its_world(variant.config) for variant in plan.variants)
        for line in dict.fromkeys(filter(None, told)):
            log.warning("%s", line)
    fingerprints.save()
    write_plan(plan, asked.cache, asked.settings)
    return plan


def planned_runtime(settings: Path) -> dict[str, Any]:
    """The section `runtime` as the plan wrote it."""
    return dict(json.loads(settings.read_text())["runtime"])
