"""Ctrl-C at any moment: heeded at once, and a line in place of a stack.

As a program, `python -m i2v3d.workflow.interrupts WORDS`, it is snakemake, whose own imports show a stack.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType, TracebackType

INTERRUPTED = 130  # the exit code
LINE = "i2v3d: interrupted; run the same command again to go on\n"


@contextmanager
def given_to(number: signal.Signals, handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """A signal of this process goes to `handler` meanwhile, but in threads that cannot set signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, usual)


def heeded_at_once() -> AbstractContextManager[None]:
    """Ctrl-C raises KeyboardInterrupt meanwhile: asyncio, in which snakemake plans, heeds it at its next pause only.

    Not where it is ignored, as in the background of a shell.
    """
    if not callable(signal.getsignal(signal.SIGINT)):
        return nullcontext()
    return given_to(signal.SIGINT, signal.default_int_handler)


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
