"""A Hugging Face Hub on this machine: as much of its interface as `create_repo`, uploads and downloads use."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    claimed_sizes: dict[str, int] = field(default_factory=dict)
    """Sizes that the server states instead of the true ones."""

    @property
    def commit(self) -> str:
        return hashlib.sha1(b"".join(self.files.values())).hexdigest()


class HubStub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.tokens: set[str | None] = set()
        """What requests have brought along as authorization."""
        self.token = "Bearer hf_of_a_test"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub_stub() -> Iterator[HubStub]:
    with HubStub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: HubStub

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self.server.tokens.add(self.headers.get("Authorization"))
        if path == "/api/validate-yaml":
            self._send({})
        elif self.headers.get("Authorization") != self.server.token:
            self._send({"error": "Unauthorized"}, status=401)
        elif path == "/api/repos/create":
            self._create(json.loads(content))
        else:
            name = "/".join(path.split("/")[3:5])
            repository = self.server.repositories[name]
            if "/preupload/" in path:
                files = json.loads(content)["files"]
                modes = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files]
                self._send({"files": modes})
            else:
                for line in content.splitlines():
                    entry = json.loads(line)
                    if entry["key"] == "file":
                        repository.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                where = f"{self.server.address}/{name}/commit/{repository.commit}"
                self._send({"commitUrl": where, "commitOid": repository.commit})

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.tokens.add(self.headers.get("Authorization"))
        parts = path.strip("/").split("/")
        is_api = parts[0] == "api"
        name = "/".join(parts[2:4] if is_api else parts[:2])
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and self.headers.get("Authorization") != self.server.token):
            self._send({"error": "Repository not found"}, status=401, error="RepoNotFound")
        elif is_api and "revision" in parts and parts[-1] not in ("main", repository.commit):
            self._send({"error": "Invalid rev id"}, status=404, error="RevisionNotFound")
        elif is_api:
            siblings = [
                {"rfilename": file, "size": repository.claimed_sizes.get(file, len(content))}
                for file, content in repository.files.items()
            ]
            facts = {"_id": "1", "id": name, "sha": repository.commit, "private": repository.private, "tags": []}
            self._send({**facts, "downloads": 0, "likes": 0, "siblings": siblings})
        else:
            self._send_file(repository, parts[-1])

    do_HEAD = do_GET  # noqa: N815

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        address = f"{self.server.address}/{name}"
        if name in self.server.repositories:
            self._send({"error": "You already created this model repo", "url": address}, status=409)
            return
        is_private = wanted.get("private") is True or wanted.get("visibility") == "private"
        self.server.repositories[name] = Repository(private=is_private)
        self._send({"url": address, "name": name})

    def _send(self, content: Any, *, status: int = 200, error: str | None = None) -> None:
        encoded = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(encoded)

    def _send_file(self, repository: Repository, file: str) -> None:
        content = repository.files[file]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", repository.commit)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Print nothing."""
