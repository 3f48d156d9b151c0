"""Stands for a process that a server forks: `client.py PYTHON FOLDER ARGUMENTS`, as `PYTHON ARGUMENTS`.

Started by the script `python` of FOLDER, without site-packages. What no server serves, it becomes itself.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[3])
from tests.support.warm.kinds import kind_of  # noqa: E402

INTERRUPT = b"i"  # Ctrl-C, which reaches a client and not its fork
LONGEST_S = 300  # a server imports for 10 s on a machine of its own


def connect(python: str, folder: Path, kind: str) -> socket.socket:
    """The server of a kind, which is started if there is none."""
    link, address = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), folder / kind
    with address.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not address.exists():
            start(python, address)
    link.connect(str(address))
    return link


def start(python: str, address: Path) -> None:
    """Starts the server and waits until it listens."""
    server, log = Path(__file__).with_name("server.py"), address.with_suffix(".log")
    with log.open("ab") as said:
        child = subprocess.Popen(
            [python, server, address],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    end = time.monotonic() + LONGEST_S
    while not address.exists():
        if child.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"{server} {address} does not start; see {log.read_text()}")
        time.sleep(0.02)


def main(python: str, folder: Path, arguments: list[str]) -> int:
    """The exit status of the forked process."""
    if arguments[:1] == ["-u"]:  # what execnet says to workers of tests; it writes to their output by itself
        arguments = arguments[1:]
    kind = kind_of(arguments)
    if kind is None:
        os.execv(python, [python, *arguments])
    request = marshal.dumps((arguments, str(Path.cwd()), dict(os.environ)))
    with connect(python, folder, kind) as link:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until it can be passed on
        socket.send_fds(link, [len(request).to_bytes(8, "little")], [0, 1, 2])
        link.sendall(request)
        signal.signal(signal.SIGINT, lambda *_: link.send(INTERRUPT))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        answer = link.recv(8)
    if len(answer) != 8:
        raise SystemExit(f"the server for {kind} is gone")
    status = int.from_bytes(answer, "little", signed=True)
    if status < 0:
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
