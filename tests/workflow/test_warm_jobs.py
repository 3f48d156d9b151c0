"""A fork stands for a process of its own: what it is given, how it ends, and who ends with whom."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from i2v3d.workflow.warm.client import OFFER, offer
from tests.support.checkout import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="forks are for Linux")

# Ctrl-C is heeded also where tests run in the background, which ignores it.
SERVER = """
import atexit, os, signal, sys, tempfile, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from i2v3d.workflow.warm.server import Server, listen
folder = tempfile.TemporaryDirectory()
atexit.register(folder.cleanup)
def run(words):
    try:
        print(os.getcwd(), os.environ["TOLD"], *words, flush=True)
        if words[0] == "sleep":
            time.sleep(60)
    except KeyboardInterrupt:
        return 130
    if words[0] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if words[0] == "folder":
        print(os.path.isdir(folder.name), flush=True)
        return 0
    if words[0] == "fail":
        raise RuntimeError("a defect")
    sys.exit(int(words[0]))
listener = listen(sys.argv[1])
print("listens", flush=True)
Server(listener, os.pidfd_open(int(sys.argv[2])), run).serve()
"""
CLIENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from i2v3d.workflow.warm.client import forked
status = forked(sys.argv[1:])
print("by itself" if status is None else "forked", flush=True)
sys.exit(status or 0)
"""


class Run:
    """A server whose forks do what SERVER says, its owner, and clients in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, f"i2v3d-{secrets.token_hex(8)}"
        self.owner = subprocess.Popen(["sleep", "100"])
        self.server = self.start("-c", SERVER, self.name, str(self.owner.pid))
        assert self.said(self.server) == "listens"

    def start(self, *words: str) -> subprocess.Popen[str]:
        told = f"{self.name} {self.owner.pid} lora {self.folder / 'log'}"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), OFFER: told, "TOLD": "told"}
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def client(self, *words: str) -> subprocess.Popen[str]:
        return self.start("-c", CLIENT, *words)

    @staticmethod
    def said(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def sleeping(self) -> tuple[subprocess.Popen[str], int]:
        """A client whose fork sleeps, and the fork's process number."""
        client = self.client("sleep")
        assert self.said(client) == f"{self.folder} told sleep"
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text().split()
        return client, int(children[-1])


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    for process in (run.owner, run.server):
        process.kill()
        process.communicate()


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_gone(process: int) -> bool:
    """Whether it has ended, also if nobody has asked how."""
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(") ")[2][0] == "Z"


@pytest.mark.parametrize("status", [0, 3])
def test_a_fork_has_the_words_folder_environment_and_files_of_its_client(run: Run, status: int) -> None:
    client = run.client(str(status), "two words")
    said, _ = client.communicate()
    assert said == f"{run.folder} told {status} two words\nforked\n"
    assert client.returncode == status


def test_a_folder_that_a_library_made_outlives_the_forks(run: Run) -> None:
    """As W&B's of pictures, which it makes when it is imported."""
    for _ in range(2):
        assert run.client("folder").communicate()[0].splitlines()[1:] == ["True", "forked"]


def test_a_defect_of_a_fork_is_told_and_its_death_is_its_clients(run: Run) -> None:
    failed, killed = run.client("fail"), run.client("die")
    assert "RuntimeError: a defect" in failed.communicate()[0]
    assert "forked" not in killed.communicate()[0]
    assert (failed.returncode, killed.returncode) == (1, -signal.SIGKILL)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_signals_reach_the_fork_and_decide_how_its_client_ends(
    run: Run, sent: signal.Signals, status: int
) -> None:
    client, fork = run.sleeping()
    client.send_signal(sent)
    client.communicate()
    assert client.returncode == status and is_gone(fork)


def test_a_fork_ends_with_its_client(run: Run) -> None:
    client, fork = run.sleeping()
    client.kill()
    client.communicate()
    wait_until(lambda: is_gone(fork))
    assert run.server.poll() is None


def test_forks_end_with_their_server_and_clients_then_work_by_themselves(run: Run) -> None:
    client, fork = run.sleeping()
    run.server.kill()
    assert client.communicate()[0] == "by itself\n"
    wait_until(lambda: is_gone(fork))


def test_a_server_ends_with_its_owner_but_not_before_its_forks(run: Run) -> None:
    client, _ = run.sleeping()
    run.owner.kill()
    late = run.client("0")
    while "forked" in late.communicate()[0]:  # until the server has noticed
        late = run.client("0")
    assert run.server.poll() is None
    client.terminate()
    client.communicate()
    run.server.wait(10)


def test_a_server_without_an_owner_ends_at_once(run: Run) -> None:
    run.owner.kill()
    run.owner.wait()
    late = run.start("-m", "i2v3d.workflow.warm.server", f"{run.name}-other", str(run.owner.pid))
    assert late.communicate()[0] == "" and late.returncode == 0


def test_a_second_server_of_a_name_leaves_it_to_the_first(run: Run) -> None:
    second = run.start("-m", "i2v3d.workflow.warm.server", run.name, str(run.owner.pid))
    assert second.communicate()[0] == "" and second.returncode == 0
    assert run.client("0").communicate()[0].endswith("forked\n")


IMPORTING = """
import os, sys
from i2v3d.workflow.warm.server import import_all
cards = os.environ.get("CUDA_VISIBLE_DEVICES")
said = import_all(["looks_for_cards", "not_installed.at_all", *sys.argv[1:]])
import looks_for_cards
print(repr(looks_for_cards.found), os.environ.get("CUDA_VISIBLE_DEVICES") == cards, said)
"""
LOOKS = """
import os, sys, types
found = os.environ["CUDA_VISIBLE_DEVICES"]
poisoned = "poisoned" in os.environ.get("TOLD", "")
if poisoned:
    sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(_is_in_bad_fork=lambda: True))
"""


@pytest.mark.parametrize(("told", "obstacle"), [("", "None"), ("poisoned", "libraries asked the driver")])
def test_cards_are_hidden_from_libraries_that_look_for_them(tmp_path: Path, told: str, obstacle: str) -> None:
    """And a server whose forks torch would keep from cards says so and ends."""
    (tmp_path / "looks_for_cards.py").write_text(LOOKS)
    words = [sys.executable, "-c", IMPORTING]
    own = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "TOLD": told, "CUDA_VISIBLE_DEVICES": "3"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, **own})
    assert done.stdout.startswith(f"'' True {obstacle}")


FORKED = """
import os, sys
from i2v3d.workflow.warm.libraries import LIBRARIES
from i2v3d.workflow.warm.server import import_all
assert import_all(LIBRARIES) is None
fork = os.fork()
if fork == 0:
    import torch
    print(float((torch.ones(4, device="cuda") * 2).sum()), flush=True)
    os._exit(0)
sys.exit(os.waitpid(fork, 0)[1])
"""


@pytest.mark.gpu
def test_a_fork_computes_on_a_card() -> None:
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True, env=own)
    assert done.stdout == "8.0\n"


def test_only_a_command_that_imports_much_starts_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only where one was offered."""
    monkeypatch.delenv(OFFER, raising=False)
    monkeypatch.chdir(ROOT)
    words = [sys.executable, "-c", CLIENT, "results"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "by itself\n"
    monkeypatch.setenv(OFFER, "")
    offer(["lora"], tmp_path / "log")
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "by itself\n"
    assert not (tmp_path / "log").exists()
