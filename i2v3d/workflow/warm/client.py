"""Has a job's words run in a fork of the run's server, and stands for the fork until it ends."""

from __future__ import annotations

import marshal
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# Of the environment: the server's name, the process that it ends with, commands that start it, its log.
OFFER = "I2V3D_WARM"
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130
STARTS_WITHIN_S = 10.0  # until it listens; it imports only then
POLL_S = 0.02


def offer(starting: Sequence[str], log: Path) -> None:
    """Lets jobs that this process starts be forked. starting: commands that start the server, since they import most.
    log: of the server, for what goes wrong in it.

    Does nothing on systems without what it takes, which Linux has.
    """
    if hasattr(os, "pidfd_open") and hasattr(socket, "SO_PEERCRED"):
        os.environ[OFFER] = f"i2v3d-{secrets.token_hex(8)} {os.getpid()} {','.join(starting)} {log.resolve()}"


def forked(words: Sequence[str]) -> int | None:
    """The exit status of the command `i2v3d WORDS`, run in a fork; None if it is to be run in this process.

    A fork that was killed by a signal kills this process by the same.
    """
    told = os.environ.pop(OFFER, None)
    if told is None or not words:
        return None
    name, owner, starting, log = told.split(" ", 3)
    try:
        link = _connected(name)
        if link is None and words[0] in starting.split(","):
            link = _started(name, owner, Path(log))
        if link is not None:
            with link:
                return _follow(link, list(words))
    except OSError:  # the server is gone, and took its forks along
        return None
    except KeyboardInterrupt:  # before there was a fork
        return INTERRUPTED
    return None


def same_user(link: socket.socket) -> bool:
    """Whether the process at the other end is this user's: names of sockets are everybody's."""
    told = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)  # process, user and group, 4 bytes each
    return int.from_bytes(told[4:8], sys.byteorder) == os.getuid()


def send_number(link: socket.socket, number: int) -> None:
    """What `received_number` receives."""
    link.sendall(number.to_bytes(8, "little", signed=True))


def received_number(link: socket.socket) -> int | None:
    """None if the other end is gone."""
    told = link.recv(8, socket.MSG_WAITALL)
    return int.from_bytes(told, "little", signed=True) if len(told) == 8 else None


def _connected(name: str) -> socket.socket | None:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.connect(f"\0{name}")
    except ConnectionRefusedError:
        link.close()
        return None
    if same_user(link):
        return link
    link.close()
    return None


def _started(name: str, owner: str, log: Path) -> socket.socket | None:
    """A link to a server that this process, or another at the same time, has started; None if it does not come."""
    from i2v3d.workflow.warm.libraries import LIBRARIES

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", "i2v3d.workflow.warm.server", name, owner, *LIBRARIES],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    end = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < end:
        link = _connected(name)
        if link is not None or server.poll() not in (None, 0):
            return link
        time.sleep(POLL_S)
    return None


def _follow(link: socket.socket, words: list[str]) -> int | None:
    """The fork's exit status; None if the server ends before it."""
    request = marshal.dumps((words, str(Path.cwd()), dict(os.environ)))
    socket.send_fds(link, [len(request).to_bytes(8, "little", signed=True)], [0, 1, 2])
    link.sendall(request)
    fork = received_number(link)
    if fork is None:
        return None
    with _passing_on(fork):
        status = received_number(link)
    if status is not None and status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


@contextmanager
def _passing_on(fork: int) -> Iterator[None]:
    """Signals to this process reach the fork instead, but for those that are ignored."""

    def pass_on(number: int, _: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(fork, number)

    before = {number: signal.getsignal(number) for number in PASSED_ON}
    heeded = [number for number, handler in before.items() if handler != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, pass_on)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])
