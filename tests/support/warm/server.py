"""A process that has imported what a kind of commands needs, and forks for each: `server.py FOLDER/KIND`.

Listens there, and ends with the process whose number FOLDER/owner holds.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import importlib.util
import marshal
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import NoReturn

ROOT, PACKAGE = Path(__file__).resolve().parents[3], "i2v3d"
sys.path[0] = str(ROOT)
from i2v3d.workflow.warm.library_folders import leave_library_folders, library_folders  # noqa: E402
from tests.support.warm.kinds import KINDS, PROJECT, is_worker  # noqa: E402

del sys.path[0]  # each process has its own folder there
OFFLINE = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}  # as every stage sets for itself


class Server:
    """One loop over whoever asks and whatever was forked."""

    def __init__(self, address: Path, owner: int, python: Path) -> None:
        self.python, self.usage = python, address.with_suffix(".cpu_s")
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(address.with_suffix(".new")))
        self.listener.listen(64)
        self.listen_to(self.listener.fileno(), self.accept)
        self.listen_to(os.pidfd_open(owner), self.end)
        address.with_suffix(".new").rename(address)

    def listen_to(self, file: int, call: Callable[[], None]) -> None:
        self.selector.register(file, selectors.EVENT_READ, call)

    def serve(self) -> NoReturn:
        """Until the owner ends."""
        while True:
            for key, _ in self.selector.select():
                key.data()

    def end(self) -> NoReturn:
        """With what its forks left to it."""
        for made in library_folders():
            made.cleanup()
        os._exit(0)

    def accept(self) -> None:
        """Forks for a client."""
        link, _ = self.listener.accept()
        length, files, _, _ = socket.recv_fds(link, 8, 3)
        request, wanted = b"", int.from_bytes(length, "little")
        while len(request) < wanted:
            part = link.recv(wanted - len(request))
            if not part:
                break
            request += part
        if not wanted or len(request) < wanted:  # it was killed before it had said what it wants
            for file in files:
                os.close(file)
            link.close()
            return
        child = os.fork()
        if child == 0:
            self.selector.close()
            self.listener.close()
            link.close()
            words, folder, environment = marshal.loads(request)
            run(words, folder, environment, files, str(self.python))
        for file in files:
            os.close(file)
        self.watch(link, child)

    def watch(self, link: socket.socket, child: int) -> None:
        """Tells the client how its process ended. What interrupts or ends the client does so to the process."""
        handle, client = os.pidfd_open(child), link.fileno()

        def ended() -> None:
            if client in self.selector.get_map():
                self.selector.unregister(client)
            self.selector.unregister(handle)
            _, status = os.waitpid(child, 0)
            with suppress(OSError):  # the client was killed
                link.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "little", signed=True))
            os.close(handle)
            link.close()
            self.usage.write_text(str(sum(os.times()[:4])))

        def heard() -> None:
            with suppress(OSError):  # the client was killed
                if link.recv(1):
                    signal.pidfd_send_signal(handle, signal.SIGINT)
                    return
            if client in self.selector.get_map():  # and not both in one round
                self.selector.unregister(client)
                signal.pidfd_send_signal(handle, signal.SIGKILL)

        self.listen_to(handle, ended)
        self.listen_to(client, heard)


def run(
    arguments: list[str], folder: str, environment: dict[str, str], files: list[int], python: str
) -> NoReturn:
    """What `python ARGUMENTS` would do in `folder`, with these files as input, output and errors."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    leave_library_folders()
    os.setsid()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # wherever the tests run, such as in the background
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if is_worker(arguments):  # where `plugin` chooses, and tests of downloads have a server
        constants = importlib.import_module("huggingface_hub.constants")
        constants.HF_HUB_OFFLINE = constants.HF_HUB_DISABLE_PROGRESS_BARS = None
    else:
        sys.executable = python
    sys.path.insert(0, folder if arguments[0] == "-m" else "")
    place_project()
    status = 1
    try:
        status = _status(arguments)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter does at its end
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _status(arguments: list[str]) -> int:
    try:
        if arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            main = ModuleType("__main__")
            sys.modules["__main__"] = main
            exec(compile(arguments[1], "<string>", "exec"), main.__dict__)
        else:
            sys.argv = [arguments[1], *arguments[2:]]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        sys.stderr.write(f"{left.code}\n")
        return 1
    return 0


def place_project() -> None:
    """What the server imported of the project stays if a new process would import the same files.

    What is imported from now on lies where a new process finds it, which may be a link to these files.
    """
    loaded = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == PACKAGE}
    for name in loaded:
        del sys.modules[name]
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return
    folder = Path(found.origin).parent
    if folder.resolve() != ROOT / PACKAGE:
        return
    sys.modules.update(loaded)
    for name, module in loaded.items():
        if hasattr(module, "__path__"):
            module.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]


def import_all(names: Sequence[str], project: Sequence[str]) -> None:
    """Imports libraries and modules of the project so that no thread but this one lives afterwards that a fork misses.

    Blender's TBB has no workers where it sees one core, and its OpenEXR writes by itself once its pool is empty.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    for name in names:
        importlib.import_module(name)
    sys.path.insert(0, str(ROOT))
    for name in project:
        importlib.import_module(name)
    sys.path.remove(str(ROOT))
    os.sched_setaffinity(0, cores)
    gc.collect()
    gc.freeze()  # or a fork's searches for garbage would copy all of it
    if "bpy" in sys.modules:
        ctypes.CDLL("libOpenEXR.so.32")["_ZN7Imf_3_320setGlobalThreadCountEi"](0)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    os.environ.update(OFFLINE)
    import_all(KINDS[place.name], PROJECT[place.name])
    Server(place, int((place.parent / "owner").read_text()), place.parent / "python").serve()
