"""Jobs of snakemake as jobs of Kubernetes, started from a pod of the same image: the submitter of profiles/kubernetes.

`python -m i2v3d.workflow.pods submit|status|cancel` speaks to the cluster's API with the pod's own account. All pods
mount one volume at the same path, which holds the folder of the run and the cache: snakemake's own Kubernetes executor
copies files through an object store instead, where links and locks do not exist.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2v3d.errors import I2V3DError, MachineError

log = logging.getLogger(__name__)
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # of every pod
HANDED_ON = (
    "HF_HOME",
    "WANDB_MODE",
    "HOME",
)  # what a job learns of the environment of the pod that submits it
KEPT_S = 3600  # how long a finished job can be looked at


@dataclass(frozen=True)
class Cluster:
    """Where jobs go. image: of the container; claim, mount: the shared volume and its path in every pod."""

    url: str
    token: str
    certificate: Path | None
    namespace: str
    image: str
    claim: str
    mount: str

    @staticmethod
    def of_this_pod(account: Path = ACCOUNT) -> Cluster:
        """Raises MachineError outside a pod, or if it does not say which image and volume jobs get."""
        said = {name: os.environ.get(name, "") for name in ("I2V3D_IMAGE", "I2V3D_CLAIM", "I2V3D_MOUNT")}
        lacking = [name for name, value in said.items() if not value]
        if lacking or not (account / "token").is_file():
            raise MachineError(
                f"{' and '.join(lacking) or 'the account of a pod'} is not here; start snakemake in a pod, as "
                "profiles/kubernetes/start.yaml does"
            )
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        certificate = account / "ca.crt"
        return Cluster(
            url=f"{'https' if certificate.is_file() else 'http'}://{host}:{port}",
            token=(account / "token").read_text().strip(),
            certificate=certificate if certificate.is_file() else None,
            namespace=(account / "namespace").read_text().strip(),
            image=said["I2V3D_IMAGE"],
            claim=said["I2V3D_CLAIM"],
            mount=said["I2V3D_MOUNT"],
        )

    def ask(self, method: str, name: str = "", body: object = None) -> dict[str, Any]:
        """One call about a job, or about all. Raises MachineError for a refusal, OSError without an answer."""
        path = f"/apis/batch/v1/namespaces/{self.namespace}/jobs" + (f"/{name}" if name else "")
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        context = ssl.create_default_context(cafile=str(self.certificate)) if self.certificate else None
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode(errors="replace")[:300]
            raise MachineError(
                f"Kubernetes refuses {method} {path} ({error.code}): {said}; see start.yaml"
            ) from error


def job_of(cluster: Cluster, script: Path, needs: argparse.Namespace) -> dict[str, Any]:
    """The job that runs a script of snakemake in the folder that this runs in."""
    resources: dict[str, dict[str, str]] = {
        "requests": {"cpu": str(needs.cpus), "memory": f"{needs.memory_mb}M"},
        "limits": {"memory": f"{needs.memory_mb}M"},
    }
    if needs.gpus:
        resources["limits"]["nvidia.com/gpu"] = str(needs.gpus)
    container = {
        "name": "job",
        "image": cluster.image,
        "command": ["/bin/sh", str(script.absolute())],
        "workingDir": str(Path.cwd()),
        "resources": resources,
        "env": [{"name": name, "value": os.environ[name]} for name in HANDED_ON if name in os.environ],
        "volumeMounts": [{"name": "shared", "mountPath": cluster.mount}],
    }
    pod = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": cluster.claim}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"generateName": "i2v3d-", "labels": {"app": "i2v3d"}},
        "spec": {
            "backoffLimit": 0,  # snakemake itself tries again, with more memory
            "activeDeadlineSeconds": 60 * needs.minutes,
            "ttlSecondsAfterFinished": KEPT_S,
            "template": {"spec": pod},
        },
    }


def submit(cluster: Cluster, script: Path, needs: argparse.Namespace) -> str:
    """Starts a job; returns its name."""
    return str(cluster.ask("POST", body=job_of(cluster, script, needs))["metadata"]["name"])


def status(cluster: Cluster, name: str) -> str:
    """As snakemake calls it: running, success or failed. A cluster that does not answer is asked again later."""
    try:
        said = cluster.ask("GET", name).get("status", {})
    except MachineError as error:
        log.error("%s", error)
        return "failed"  # it was deleted
    except OSError as error:
        log.warning("Kubernetes does not answer (%s); job %s counts as running", error, name)
        return "running"
    return "success" if said.get("succeeded") else "failed" if said.get("failed") else "running"


def cancel(cluster: Cluster, names: Sequence[str]) -> None:
    """Ends jobs and their pods."""
    for name in names:
        cluster.ask("DELETE", name, {"propagationPolicy": "Background"})


def main(words: Sequence[str] | None = None) -> int:
    """The command; 2 after a mistake, which is one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m i2v3d.workflow.pods", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("submit", help="start a job; prints its name")
    for name in ("cpus", "memory-mb", "gpus", "minutes"):
        start.add_argument(f"--{name}", type=int, required=True)
    start.add_argument("script", type=Path)
    commands.add_parser("status", help="running, success or failed").add_argument("name")
    commands.add_parser("cancel", help="end jobs").add_argument("names", nargs="+")
    asked = parser.parse_args(words)
    try:
        cluster = Cluster.of_this_pod()
        if asked.command == "submit":
            sys.stdout.write(f"{submit(cluster, asked.script, asked)}\n")
        elif asked.command == "status":
            sys.stdout.write(f"{status(cluster, asked.name)}\n")
        else:
            cancel(cluster, asked.names)
    except (I2V3DError, OSError) as error:
        sys.stderr.write(f"i2v3d: error: {error}\n")
        return 2
    return 0


def cancel_pods() -> int:
    """`i2v3d-cancel-pods NAME ...`: snakemake calls a cancelling command without words of its own."""
    return main(["cancel", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
