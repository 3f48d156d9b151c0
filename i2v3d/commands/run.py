"""`i2v3d [run]`: the whole workflow."""

from __future__ import annotations

import getpass
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from i2v3d.commands.parsers import Group, Options, Parser, add_hydra_words
from i2v3d.errors import ConfigError, MachineError
from i2v3d.workflow.home import cache_of_home, may_write
from i2v3d.workflow.interrupts import INTERRUPTED, given_to
from i2v3d.workflow.workplace import project_folder

log = logging.getLogger(__name__)
MEMOS = Path(".snakemake", "memos")
CHOOSES_SNAKEFILE = ("-s", "--snakefile")
CHOOSES_FOLDER = ("-d", "--directory")
CHOOSES_CORES = ("-c", "--cores", "--profile", "--workflow-profile", "--executor", "-e")


def add_parser(group: Group) -> None:
    """`run` needs not be said."""
    parser = group.add(
        "run",
        run,
        what="the whole workflow; what i2v3d does without a command",
        more="Takes Hydra words as configuration and hands everything after -- to snakemake. After Ctrl-C, or a "
        "failure that is mended, the same command goes on from what is finished.",
        examples=(
            "i2v3d scene=coffee keyframes.guidance=5",
            "i2v3d -m keyframes.guidance=5,7.5",
            "i2v3d scene=coffee -- -n",
            "i2v3d -- --workflow-profile slurm",
        ),
    )
    add_launch_words(parser)


def add_launch_words(parser: Parser) -> None:
    """What `launch` takes."""
    parser.add_argument(
        "-m", dest="multirun", action="store_true", help="one variant a value of keyframes.guidance=5,7.5"
    )
    add_hydra_words(parser, snakemake=True)


def run(options: Options) -> int:
    """Makes all results."""
    return launch(options)


def launch(options: Options, target: Sequence[str] = ()) -> int:
    """Runs snakemake with Hydra words as configuration; returns its exit code.

    target: what to make instead of all results.
    """
    own = {"overrides": overrides_value(options.words)} if options.words else {}
    own |= {"multirun": "true"} if options.multirun else {}
    handed, given = take_settings(options.snakemake)
    for setting in given:
        if setting.split("=")[0] in own:
            raise ConfigError(
                f"--config {setting} stands after --, and the words before it say {setting.split('=')[0]} as well; "
                "say it once"
            )
    settings = [*(f"{name}={value}" for name, value in own.items()), *given]
    command = [sys.executable, "-m", "i2v3d.workflow.interrupts"]  # snakemake
    if not any(word.split("=")[0] in CHOOSES_CORES for word in handed):
        command += ["--cores", "all"]
    chosen = any(word.split("=")[0] in CHOOSES_SNAKEFILE for word in handed)
    if not chosen and not Path("Snakefile").exists():
        command += ["--snakefile", str(project_folder() / "Snakefile")]
    command += [*target, *handed, *(["--config", *settings] if settings else [])]
    if not any(word.split("=")[0] in CHOOSES_FOLDER for word in handed):
        check_folder(Path.cwd())
    with_writable_cache(os.environ)
    with_user_name(os.environ)
    return wait_for(command)


def check_folder(here: Path) -> None:
    """Raises MachineError if snakemake could not write in the folder that this is started in."""
    if not os.access(here, os.W_OK | os.X_OK):
        raise MachineError(
            f"{here} is not writable; start in a folder of your own, or add: -- --directory FOLDER"
        )


def with_writable_cache(environment: MutableMapping[str, str]) -> None:
    """Lets snakemake keep its memos below this folder where the home cannot be written: it would not start.

    environment: of the processes to come, changed in place.
    """
    there = cache_of_home(environment)
    if not may_write(there):
        log.warning("%s is not writable; memos of snakemake go to %s", there, MEMOS)
        environment["XDG_CACHE_HOME"] = str(MEMOS.absolute())


def with_user_name(environment: MutableMapping[str, str]) -> None:
    """Names the user where the system has no name for the user id, as in containers: snakemake asks for one.

    environment: of the processes to come, changed in place.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        environment["LOGNAME"] = f"user{os.getuid()}"


def take_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words for snakemake without their --config, and what it says: snakemake heeds only the last of several."""
    handed: list[str] = []
    given: list[str] = []
    inside = False
    for word in words:
        option, _, value = word.partition("=")
        if option in ("--config", "-C"):
            inside = not value
            given += [value] if value else []
        elif inside and not word.startswith("-"):
            given.append(word)
        else:
            inside = False
            handed.append(word)
    return handed, given


def wait_for(command: Sequence[str]) -> int:
    """Runs a command to its end; returns its exit code.

    Ctrl-C reaches the child as well, which then stops its jobs and unlocks the folder: it is waited for, and
    KeyboardInterrupt raised afterwards, unless the child has told the user. SIGTERM, which batch systems and containers
    send to this process alone, is handed on.
    """
    interrupted = False
    with (
        subprocess.Popen(command) as child,
        given_to(signal.SIGTERM, lambda number, _: child.send_signal(number)),
    ):
        while child.poll() is None:
            try:
                child.wait()
            except KeyboardInterrupt:
                interrupted = True
    if interrupted and child.returncode not in (INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    if interrupted:
        return INTERRUPTED
    return child.returncode if child.returncode >= 0 else 128 - child.returncode  # as shells tell a signal


def overrides_value(words: Sequence[str]) -> str:
    """Hydra words as one value of snakemake's --config: a line where that is enough, else a JSON list.

    Snakemake reads the value as YAML without its outer quotes, which a quoted word does not survive.
    """
    plain = all(shlex.quote(word) == word for word in words)
    return " ".join(words) if plain else json.dumps(list(words))
