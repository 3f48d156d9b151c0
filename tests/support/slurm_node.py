"""A real Slurm of one node on loopback, for the time of a test; every daemon is ended by its pid.

Needs root and Debian's packages slurm-wlm and munge. Writes /etc/slurm/slurm.conf, since the executor
plugin drops SLURM_CONF from the environment, and refuses to touch one that it did not write itself.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "# single-node test cluster of i2v3d\n"
CONF = Path("/etc/slurm")


def missing_programs() -> list[str]:
    """Programs that the cluster needs and this machine lacks."""
    return [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name) is None]


@contextmanager
def single_node_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Starts munged, slurmctld and slurmd with state and logs in `folder`; yields the environment to use."""
    _configure(folder)
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        daemons.append(_start(folder, "munged", _munged(folder)))
        _wait_for(lambda: (folder / "munge.socket").exists(), "munged")
        daemons.append(_start(folder, "slurmctld", ["slurmctld", "-D", "-i"]))
        daemons.append(_start(folder, "slurmd", ["slurmd", "-D"]))
        environment = dict(os.environ)
        _wait_for(lambda: "idle" in _state(environment), "slurmd")
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(daemons):
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for name in ("slurm.conf", "gres.conf"):
            (CONF / name).unlink(missing_ok=True)


def _munged(folder: Path) -> list[str]:
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    files = [f"--{name}-file={folder / f'munge.{name}'}" for name in ("key", "log", "pid", "seed")]
    return ["munged", "--foreground", "--force", f"--socket={folder / 'munge.socket'}", *files]


def _configure(folder: Path) -> None:
    folder.chmod(0o755)  # munge refuses a socket that others cannot reach
    existing = CONF / "slurm.conf"
    if existing.exists() and not existing.read_text().startswith(MARK):
        raise RuntimeError(f"{existing} belongs to a real cluster; this test does not touch it")
    CONF.mkdir(exist_ok=True)
    node = socket.gethostname().split(".")[0]
    memory = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20 * 0.9)
    ports = _free_ports(2)
    existing.write_text(
        MARK
        + f"""\
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder / "munge.socket"}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder / "state"}
SlurmdSpoolDir={folder / "spool"}
SlurmctldPidFile={folder / "slurmctld.pid"}
SlurmdPidFile={folder / "slurmd.pid"}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MinJobAge=600
GresTypes=gpu
NodeName={node} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""
    )
    (CONF / "gres.conf").write_text(f"{MARK}NodeName={node} Name=gpu File=/dev/null Count=1\n")
    for name in ("state", "spool"):
        (folder / name).mkdir()


def _start(folder: Path, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.out").open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)


def _state(environment: dict[str, str]) -> str:
    answer = subprocess.run(
        ["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, check=False
    )
    return answer.stdout


def _wait_for(ready: object, what: str, seconds: float = 30.0) -> None:
    assert callable(ready)
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come up within {seconds:.0f} s")
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [item.getsockname()[1] for item in sockets]
    finally:
        for item in sockets:
            item.close()
