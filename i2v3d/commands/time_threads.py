"""`i2v3d time-threads`: what waiting threads cost on this machine, alone and beside other work."""

from __future__ import annotations

import json
import sys

from i2v3d.commands.parsers import Group, Options, count


def add_parser(group: Group) -> None:
    """A table on standard output."""
    parser = group.add(
        "time-threads",
        run,
        what="one call of the miniature's video network by OpenMP setting, alone and beside a busy process",
        examples=("i2v3d time-threads", "i2v3d time-threads --busy 2 --json"),
    )
    parser.add_argument("--threads", type=count, default=2, help="threads a call (default: 2)")
    parser.add_argument("--calls", type=count, default=9, help="calls whose median is told (default: 9)")
    parser.add_argument("--busy", type=count, default=1, help="busy single-threaded processes (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Options) -> int:
    """Prints a row a setting, the default of every job marked."""
    from i2v3d.commands.thread_costs import measure, table

    rows = measure(options.threads, options.calls, options.busy)
    sys.stdout.write(json.dumps(rows) + "\n" if options.json else table(rows, options.busy))
    return 0
