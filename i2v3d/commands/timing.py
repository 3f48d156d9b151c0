"""What the commands that time networks share: where to measure, and how to tell it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from i2v3d.commands.parsers import Options, Parser, add_hydra_words


def add_timing_options(parser: Parser) -> None:
    """Where to measure, and how to tell it; last come words of Hydra."""
    parser.add_argument("--device", default="auto", help="torch device string (default: auto)")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    add_hydra_words(parser)


def run_timing(options: Options, measure: Callable[[Path, str], dict[str, Any]]) -> int:
    """Measures in a folder of its own, which goes afterwards, on the device that is asked for."""
    import tempfile

    from i2v3d.workflow.runner import resolve_device

    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="i2v3d-times-", dir=options.folder) as folder:
        result = measure(Path(folder), resolve_device(options.device))
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
    return 0
