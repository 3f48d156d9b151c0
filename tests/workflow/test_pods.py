"""Jobs of Kubernetes, against a stand-in of its API on loopback that keeps what it is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from i2v3d.errors import MachineError
from i2v3d.workflow import pods
from i2v3d.workflow.pods import Cluster, main

ENVIRONMENT = {"I2V3D_IMAGE": "registry/i2v3d:cuda", "I2V3D_CLAIM": "i2v3d", "I2V3D_MOUNT": "/shared"}
SUBMIT = ["submit", "--cpus", "4", "--memory-mb", "32000", "--minutes", "120"]


class Api(ThreadingHTTPServer):
    """jobs: name -> what was sent; states: name -> its status; calls: method and path of every request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.jobs: dict[str, Any] = {}
        self.states: dict[str, Any] = {}
        self.calls: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Api

    def _answer(self, code: int, body: object) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def _any(self) -> None:
        self.server.calls.append(f"{self.command} {self.path}")
        name = self.path.rsplit("/", 1)[-1]
        if self.headers["Authorization"] != "Bearer secret":
            self._answer(403, {"message": "jobs is forbidden"})
        elif self.command == "POST":
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = f"{sent['metadata']['generateName']}{len(self.server.jobs)}"
            self.server.jobs[name] = sent
            self._answer(201, {"metadata": {"name": name}})
        elif name not in self.server.jobs:
            self._answer(404, {"message": "not found"})
        else:
            self._answer(200, {"status": self.server.states.get(name, {})})
            if self.command == "DELETE":
                del self.server.jobs[name]

    do_GET = do_POST = do_DELETE = _any

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A pod whose account may do everything."""
    with Api() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        (tmp_path / "token").write_text("secret\n")
        (tmp_path / "namespace").write_text("films\n")
        where = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.server_port)}
        for name, value in {**ENVIRONMENT, **where, "HF_HOME": "/shared/weights"}.items():
            monkeypatch.setenv(name, value)
        of_this_pod = Cluster.of_this_pod
        monkeypatch.setattr(pods.Cluster, "of_this_pod", lambda: of_this_pod(tmp_path))
        yield server
        server.shutdown()
        thread.join()


def test_a_job_asks_for_what_its_stage_needs_and_runs_where_snakemake_does(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SUBMIT, "--gpus", "1", ".snakemake/tmp/job.sh"]) == 0
    assert capsys.readouterr().out == "i2v3d-0\n"
    assert api.calls == ["POST /apis/batch/v1/namespaces/films/jobs"]
    spec = api.jobs["i2v3d-0"]["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 7200)
    pod = spec["template"]["spec"]
    assert pod["volumes"] == [{"name": "shared", "persistentVolumeClaim": {"claimName": "i2v3d"}}]
    (container,) = pod["containers"]
    assert container["image"] == "registry/i2v3d:cuda"
    assert container["command"] == ["/bin/sh", str(tmp_path / ".snakemake/tmp/job.sh")]
    assert container["workingDir"] == str(tmp_path)
    assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
    assert container["resources"]["requests"] == {"cpu": "4", "memory": "32000M"}
    assert container["resources"]["limits"] == {"memory": "32000M", "nvidia.com/gpu": "1"}
    assert {"name": "HF_HOME", "value": "/shared/weights"} in container["env"]


def test_a_job_without_networks_asks_for_no_card(api: Api) -> None:
    assert main([*SUBMIT, "--gpus", "0", "job.sh"]) == 0
    (container,) = api.jobs["i2v3d-0"]["spec"]["template"]["spec"]["containers"]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]


@pytest.mark.parametrize(
    ("state", "told"),
    [({}, "running"), ({"active": 1}, "running"), ({"succeeded": 1}, "success"), ({"failed": 1}, "failed")],
)
def test_snakemake_learns_how_a_job_stands(
    state: dict[str, int], told: str, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*SUBMIT, "--gpus", "0", "job.sh"])
    api.states["i2v3d-0"] = state
    capsys.readouterr()
    assert main(["status", "i2v3d-0"]) == 0
    assert capsys.readouterr().out == f"{told}\n"


def test_a_cancelled_job_has_failed(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    main([*SUBMIT, "--gpus", "0", "job.sh"])
    assert main(["cancel", "i2v3d-0"]) == 0
    capsys.readouterr()
    assert main(["status", "i2v3d-0"]) == 0
    assert capsys.readouterr().out == "failed\n"


def test_a_cluster_that_does_not_answer_is_asked_again(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    assert main(["status", "i2v3d-0"]) == 0
    assert capsys.readouterr().out == "running\n"


def test_what_the_account_may_not_do_is_a_line(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("wrong")
    assert main([*SUBMIT, "--gpus", "0", "job.sh"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("i2v3d: error: Kubernetes refuses POST /apis/batch") and "forbidden" in said
    assert said.count("\n") == 1


def test_outside_a_pod_the_way_in_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MachineError, match=r"I2V3D_IMAGE and I2V3D_CLAIM and I2V3D_MOUNT is not here; start"):
        Cluster.of_this_pod(tmp_path)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MachineError, match=r"the account of a pod is not here; start snakemake in a pod"):
        Cluster.of_this_pod(tmp_path)
