"""A model hub on loopback: the few requests that huggingface_hub makes, with faults on demand."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from i2v3d.models import architectures
from i2v3d.models.architectures import derived_shapes

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = ".safetensors"  # files that a hub keeps by SHA-256; the others it keeps in git
_certificates = functools.cache(ssl.create_default_context)
_shapes: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {}


@dataclass
class Hub:
    """repositories: OWNER/NAME -> folder. gated: those that ask for a token. asked: "METHOD path range" of every
    request. cut: name -> bytes after which its transfer breaks off, every time. swapped: name -> content that is sent
    instead. instead: code and content that every request gets, as from a proxy."""

    repositories: dict[str, Path]
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)
    swapped: dict[str, bytes] = field(default_factory=dict)
    instead: tuple[int, bytes] | None = None
    url: str = ""

    def fetched(self) -> set[str]:
        """Names of the files whose content was asked for."""
        return {
            line.split()[1].split(f"/resolve/{COMMIT}/")[1]
            for line in self.asked
            if line.startswith("GET /o/")
        }


def digest(content: bytes, large: bool) -> str:
    """What a hub calls a file's content."""
    return (
        hashlib.sha256(content).hexdigest()
        if large
        else hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    )


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Answers for `hub` at its `url` until the end of the block."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Tests stay quiet."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        """Listings of repositories and their files; 404 as the hub says it for anything else."""
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        if self.hub.instead is not None:
            code, content = self.hub.instead
            return self.send(code, {"Content-Length": str(len(content))}, content)
        listing = re.fullmatch(
            r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|auth-check))?(?:/([^/]+))?", path
        )
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = listing or file
        if found is None or found[1] not in self.hub.repositories:
            return self.send(404, {"X-Error-Code": "RepoNotFound"})
        if (listing or file)[3 if listing else 2] not in (None, "main", COMMIT):
            return self.send(404, {"X-Error-Code": "RevisionNotFound"})
        root = self.hub.repositories[found[1]]
        if (
            (file or listing[2] == "auth-check")
            and found[1] in self.hub.gated
            and "Authorization" not in self.headers
        ):
            return self.send(401, {"X-Error-Code": "GatedRepo"})
        if listing and listing[2] == "auth-check":
            return self.send_json({})
        if listing and listing[2] in (None, "revision"):
            gated = "manual" if found[1] in self.hub.gated else False
            files = [self.entry(root, p) for p in sorted(root.rglob("*")) if p.is_file()]
            siblings = [{**file, "rfilename": file["path"], "blobId": file["oid"]} for file in files]
            return self.send_json({"id": found[1], "sha": COMMIT, "gated": gated, "siblings": siblings})
        if listing:
            return self.send_json([self.entry(root, p) for p in sorted(root.rglob("*")) if p.is_file()])
        assert file is not None
        if not (root / file[3]).is_file():
            return self.send(404, {"X-Error-Code": "EntryNotFound"})
        return self.send_file(root / file[3], file[3])

    def entry(self, root: Path, path: Path) -> dict[str, Any]:
        """A file of a listing."""
        content, large = path.read_bytes(), path.suffix == LARGE
        found: dict[str, Any] = {
            "type": "file",
            "path": str(path.relative_to(root)),
            "size": len(content),
            "oid": digest(content, False),
        }
        if large:
            sha256 = digest(content, True)
            found["lfs"] = {"oid": sha256, "sha256": sha256, "size": len(content), "pointerSize": 130}
        return found

    def send_file(self, path: Path, name: str) -> None:
        """Its content, from the asked byte on."""
        true = path.read_bytes()
        content = self.hub.swapped.get(name, true)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(asked[1]) if asked else 0
        headers = {
            "ETag": f'"{digest(true, path.suffix == LARGE)}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
            "Content-Length": str(len(content) - begin),
        }
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        end = self.hub.cut.get(name, len(content)) if self.command == "GET" else len(content)
        self.send(206 if begin else 200, headers, content[begin : max(begin, end)])
        if end < len(content):
            self.close_connection = True

    def send_json(self, value: Any) -> None:
        """A listing."""
        body = json.dumps(value).encode()
        self.send(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body)

    def send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        """An answer; without a body HEAD and GET are the same."""
        self.send_response(status)
        for name, value in ({"Content-Length": "0"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries do not wait, files of a few bytes come in pieces, and what takes longer than a transfer is done once:
    reading certificates, which no hub on loopback has, and deriving shapes from the same configuration."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 5000)
    monkeypatch.setattr(ssl, "create_default_context", _certificates)
    monkeypatch.setattr(architectures, "derived_shapes", _derived_once)


def _derived_once(network: str, folder: Path) -> dict[str, tuple[int, ...]]:
    key = network, (folder / "config.json").read_text()
    if key not in _shapes:
        _shapes[key] = derived_shapes(network, folder)
    return _shapes[key]
