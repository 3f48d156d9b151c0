"""Imports libraries, then forks for clients: `python -m i2v3d.workflow.warm.server NAME OWNER LIBRARY...`.

Listens at the abstract socket NAME from the beginning, so that of several that are started at once one remains. Ends
with the process OWNER, once no fork runs.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import importlib.util
import marshal
import os
import selectors
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from i2v3d.workflow.process_environment import NO_CARDS, environment, set_process_environment
from i2v3d.workflow.warm.client import same_user, send_number
from i2v3d.workflow.warm.library_folders import leave_library_folders, library_folders

PACKAGE = "i2v3d"
DIE_WITH_PARENT = 1  # of prctl(2)


class Server:
    """One loop over the owner, whoever asks, and whatever was forked.

    owner: a handle of its process (pidfd). run: what a fork does with a client's words.
    """

    def __init__(self, listener: socket.socket, owner: int, run: Callable[[list[str]], int]) -> None:
        self._listener, self._owner, self._run = listener, owner, run
        self._selector = selectors.DefaultSelector()
        self._links: set[socket.socket] = set()
        self._listening = True
        self._watch(listener.fileno(), self._accept)
        self._watch(self._owner, self._retire)

    def serve(self) -> None:
        """Until the owner and the last fork have ended."""
        while self._listening or self._links:
            for key, _ in self._selector.select():
                if self._selector.get_map().get(key.fd) is key:  # and not gone in this round
                    key.data()

    def _watch(self, file: int, call: Callable[[], None]) -> None:
        self._selector.register(file, selectors.EVENT_READ, call)

    def _retire(self) -> None:
        self._listening = False
        self._selector.unregister(self._owner)
        self._selector.unregister(self._listener.fileno())
        self._listener.close()

    def _accept(self) -> None:
        link, _ = self._listener.accept()
        asked = _asked(link)
        if asked is None:
            link.close()
            return
        request, files = asked
        server, fork = os.getpid(), os.fork()
        if fork == 0:
            self._selector.close()
            for mine in (self._listener, link, *self._links):
                mine.close()
            become(server, files, request, self._run)
        for file in files:
            os.close(file)
        self._links.add(link)
        self._follow(link, fork)

    def _follow(self, link: socket.socket, fork: int) -> None:
        """Tells the client of its fork and how that ends; the fork is killed if the client goes before."""
        handle, client = os.pidfd_open(fork), link.fileno()

        def ended() -> None:
            _, status = os.waitpid(fork, 0)
            for file in (handle, client):
                with suppress(KeyError):
                    self._selector.unregister(file)
            with suppress(OSError):  # the client was killed
                send_number(link, os.waitstatus_to_exitcode(status))
            os.close(handle)
            self._links.remove(link)
            link.close()

        def left() -> None:
            self._selector.unregister(client)
            signal.pidfd_send_signal(handle, signal.SIGKILL)

        self._watch(handle, ended)
        self._watch(client, left)
        with suppress(OSError):  # `left` comes next
            send_number(link, fork)


def _asked(link: socket.socket) -> tuple[bytes, list[int]] | None:
    """A client's request, and its standard files; None from one that is another user's or was killed meanwhile."""
    if not same_user(link):
        return None
    told, files, _, _ = socket.recv_fds(link, 8, 3)
    length = int.from_bytes(told, "little")
    request = link.recv(length, socket.MSG_WAITALL) if len(told) == 8 else b""
    if request and len(request) == length:
        return request, files
    for file in files:
        os.close(file)
    return None


def become(server: int, files: Sequence[int], request: bytes, run: Callable[[list[str]], int]) -> NoReturn:
    """What a new process would do with a client's words, folder, environment and files."""
    words, folder, environment = marshal.loads(request)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.setsid()  # signals come from the client alone
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # may be another by this environment
    leave_library_folders()
    status = 1
    try:
        status = run(words)
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter does at its end
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def run_command(words: list[str]) -> int:
    """`i2v3d WORDS`, of the code that is on disk now."""
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    sys.argv = [PACKAGE, *words]
    main: Callable[[], int] = importlib.import_module(f"{PACKAGE}.cli").main
    return main()


def import_all(libraries: Sequence[str]) -> str | None:
    """Imports those libraries that are installed, and freezes what they made. What keeps jobs from being forked of this
    process, if anything does."""
    set_process_environment()
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # who sees one core starts no threads
    gc.disable()
    with environment(NO_CARDS):
        for library in libraries:
            if importlib.util.find_spec(library.partition(".")[0]) is not None:
                importlib.import_module(library)
    gc.enable()
    os.sched_setaffinity(0, cores)
    gc.collect()
    gc.freeze()  # or a fork's searches for garbage would copy all of it
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        return "libraries started threads, which forks would miss"
    if not _forks_may_use_cards():
        return "libraries asked the driver for cards, which forks could not use then"
    return None


def _forks_may_use_cards() -> bool:
    """Whether torch, if it was imported, would let a fork use CUDA: a fork is asked."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return True
    fork = os.fork()
    if fork == 0:
        os._exit(int(torch.cuda._is_in_bad_fork()))
    return os.waitpid(fork, 0)[1] == 0


def listen(name: str) -> socket.socket | None:
    """The socket that clients find by this name; None if another server has it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(f"\0{name}")
    except OSError:
        return None
    listener.listen(64)
    return listener


def main(name: str, owner: int, libraries: Sequence[str]) -> None:
    """Ends at once if another server has that name, or if forks would lack something; jobs then run by themselves."""
    listener = listen(name)
    if listener is None:
        return
    try:
        handle = os.pidfd_open(owner)  # before the imports, in which the owner may end
    except ProcessLookupError:
        return
    others = library_folders()  # where this process is a fork itself, as in tests
    if obstacle := import_all(libraries):
        sys.stdout.write(f"{obstacle}; jobs run by themselves\n")
        return
    Server(listener, handle, run_command).serve()
    sys.stdout.write(f"imports and jobs: {sum(os.times()[:4]):.0f} s of CPU time\n")
    sys.stdout.flush()
    for made in library_folders():  # as its forks did not
        if made not in others:
            made.cleanup()
    os._exit(0)  # to take all libraries down would take a second or two


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
