"""Ctrl-C at any moment: heeded at once, and a line in place of a stack.

As a program, `python -m i2v3d.workflow.interrupts WORDS`, it is snakemake, whose own imports show a stack.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

INTERRUPTED = 130  # the exit code
LINE = "i2v3d: interrupted; run the same command again to go on\n"


@contextmanager
def heeded_at_once() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt meanwhile: asyncio, in which snakemake plans, heeds it at its next pause only."""
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield  # where signals cannot be set, or are ignored as in the background of a shell
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def show_no_stack() -> None:
    """Lets this process tell a line if it ends by Ctrl-C."""
    usual = sys.excepthook

    def shown(kind: type[BaseException], error: BaseException, stack: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.stderr.write(LINE)
        else:
            usual(kind, error, stack)

    sys.excepthook = shown


def run_snakemake() -> None:
    """Snakemake with the words of this process; ends the process."""
    sys.argv[0] = "snakemake"
    try:
        from snakemake.cli import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write(LINE)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    run_snakemake()
