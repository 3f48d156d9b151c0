"""`i2v3d doctor`: whether this machine is ready for a configuration, and what to do if it is not."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from i2v3d.commands.parsers import Group, Options, add_hydra_words
from i2v3d.workflow.workplace import project_folder, set_up

READY, BLOCKED = 0, 2


def add_parser(group: Group) -> None:
    """Hydra words in, a table out."""
    parser = group.add(
        "doctor",
        run,
        what="whether this machine is ready for a configuration, and what to do if not",
        more="Looks at versions, GPU and memory, weights, disk and permissions, Blender, encoder and tracker, and "
        "estimates time and disk of the shot. Changes no result and asks no network. The exit code is 2 if anything "
        "would stop a run.",
        examples=("i2v3d doctor", "i2v3d doctor models=sdxl_svd scene=mug", "i2v3d doctor scene=mug --json"),
    )
    parser.add_argument(
        "--cache", type=Path, default=Path("results/.cache"), help="folder of all finished stages"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON object")
    add_hydra_words(parser)


def run(options: Options) -> int:
    """Prints a line a finding, blockers last; returns 2 if there are any."""
    from i2v3d.workflow.doctor import examine

    found = examine(set_up(project_folder(), Path()), options.words, options.cache)
    blockers = [one for one in found if one.state == "blocker"]
    if options.json:
        told = {"ready": not blockers, "findings": [dataclasses.asdict(one) for one in found]}
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
        return BLOCKED if blockers else READY
    width = max(len(one.topic) for one in found)
    for one in [*(one for one in found if one.state != "blocker"), *blockers]:
        sys.stdout.write(f"{one.state:<8} {one.topic:<{width}}  {one.said}\n")
    sys.stdout.write(f"{len(blockers)} blockers: mend them first\n" if blockers else "ready\n")
    return BLOCKED if blockers else READY
