"""A local server that speaks as much of the hub's API as datasets, transformers and huggingface_hub ask for.

Repositories are folders in memory: `hub.put("datasets", "owner/name", {"rows.jsonl": b"..."})`. A repository can be
gated, forbidden, or break off in the middle of a file. What the hub answers is taken from what its own client reads:
error codes in `X-Error-Code`, the commit in `X-Repo-Commit`, the etag of a file on HEAD.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

# How a repository answers: as it should, or with one of the hub's refusals, or by breaking off.
FINE, GATED, FORBIDDEN, UNAUTHORISED, BREAKS_OFF, SILENT = "fine", "gated", "403", "401", "breaks_off", "silent"
OUT_OF_ORDER = "500"
WRITER = "me"
_API = re.compile(r"^/api/(datasets|models)/([^/]+/[^/]+?)(?:/(revision|tree|paths-info|commits)/([^/]+)(?:/(.*))?)?$")
_WRITE = re.compile(r"^/api/(datasets|models)/([^/]+/[^/]+)/(preupload|commit)/main$")
_FILE = re.compile(r"^/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")


def digest(data: bytes) -> str:
    """40 hexadecimal digits, as the hub's commits and etags have."""
    return hashlib.sha1(data).hexdigest()


@dataclass
class Repository:
    """Files by name; `commit` is made from their bytes, `branch` is main."""

    files: Mapping[str, bytes]
    mood: str = FINE
    branch: str = "main"

    @property
    def commit(self) -> str:
        return digest(repr(sorted(self.files.items())).encode())

    def entries(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": digest(data)}
            for name, data in sorted(self.files.items())
        ]


@dataclass
class Hub:
    """The server's address, its repositories by (kind, id), and every request it answered as "METHOD path"."""

    url: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    visibility: dict[str, str] = field(default_factory=dict)  # as asked for, of repositories made by a client

    def put(self, kind: str, repo_id: str, files: Mapping[str, bytes], mood: str = FINE) -> str:
        """Publish a repository of kind "datasets" or "models"; its commit comes back."""
        repository = Repository(dict(files), mood)
        self.repositories[kind, repo_id] = repository
        return repository.commit


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub on a free port of this machine, until the block ends."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what was asked is in `Hub.requests`."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self._body = b"".join(iter(self._chunk, b""))
        else:
            self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer()

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.state.requests.append(f"{self.command} {path}")
        if path == "/api/repos/create":
            self._create()
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif match := _WRITE.match(path):
            kind, repo_id, what = match.groups()
            if self._may_write(repo_id):
                self._preupload() if what == "preupload" else self._commit(kind, repo_id)
        elif match := _API.match(path):
            kind, repo_id, what, revision, rest = match.groups()
            repository = self._repository(kind, repo_id, revision)
            if repository:
                self._api(repository, repo_id, what, rest or "")
        elif match := _FILE.match(path):
            kind, repo_id, revision, name = match.groups()
            repository = self._repository(kind or "models", repo_id, revision)
            if repository:
                self._file(repository, name)
        else:
            self._refuse(404, "", "Not found")

    def _repository(self, kind: str, repo_id: str, revision: str | None) -> Repository | None:
        repository = self.state.repositories.get((kind, repo_id))
        if repository is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
            return None
        if repository.mood == GATED and self.headers.get("Authorization"):
            self._refuse(403, "GatedRepo", f"Access to {repo_id} is restricted and you are not in the authorized list.")
        elif repository.mood == GATED:
            self._refuse(401, "GatedRepo", f"Access to {repo_id} is restricted. You must be authenticated.")
        elif repository.mood == FORBIDDEN:
            self._refuse(403, "", "Your token may not read this")
        elif repository.mood == UNAUTHORISED:
            self._refuse(401, "", "Invalid username or password.")
        elif repository.mood == OUT_OF_ORDER:
            self._refuse(500, "", "Internal error")
        elif repository.mood == SILENT:
            self.close_connection = True
        elif revision not in (None, repository.branch, repository.commit):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return repository
        return None

    def _api(self, repository: Repository, repo_id: str, what: str | None, rest: str) -> None:
        if what == "tree":
            self._tree(repository, rest.strip("/"))
        elif what == "paths-info":
            wanted = set(self._wanted_paths())
            self._json([each for each in repository.entries() if each["path"] in wanted])
        elif what == "commits":
            self._json([])
        else:
            siblings = [{"rfilename": name} for name in sorted(repository.files)]
            info = {"id": repo_id, "sha": repository.commit, "private": False, "gated": False, "tags": []}
            self._json({**info, "siblings": siblings, "downloads": 0, "likes": 0, "lastModified": _WHEN})

    def _tree(self, repository: Repository, folder: str) -> None:
        """The files and folders in `folder`; with `?recursive=true` those below them too."""
        inside = f"{folder}/" if folder else ""
        below = [entry for entry in repository.entries() if entry["path"].startswith(inside)]
        if folder and not below:
            self._refuse(404, "EntryNotFound", f"{folder} does not exist", repository.commit)
            return
        parts = [entry["path"].removeprefix(inside).split("/") for entry in below]
        names = sorted({inside + "/".join(each[:depth]) for each in parts for depth in range(1, len(each))})
        folders = [{"type": "directory", "path": name, "size": 0, "oid": digest(name.encode())} for name in names]
        everything = "recursive=true" in urlsplit(self.path).query.lower()
        here = [each for each in folders + below if everything or "/" not in each["path"].removeprefix(inside)]
        self._json(here)

    def _may_write(self, repo_id: str) -> bool:
        """Whoever has a token may write below his own name, and nowhere else."""
        if not self.headers.get("Authorization"):
            self._refuse(401, "", "Invalid username or password.")
        elif not repo_id.startswith(f"{WRITER}/"):
            self._refuse(403, "", "You don't have the rights to create a dataset under this namespace")
        else:
            return True
        return False

    def _create(self) -> None:
        asked = json.loads(self._body)
        repo_id = f"{asked.get('organization') or WRITER}/{asked['name']}"
        key = (f"{asked.get('type', 'model')}s", repo_id)
        if not self._may_write(repo_id):
            return
        there = key in self.state.repositories
        if not there:
            self.state.repositories[key] = Repository({})
            self.state.visibility[repo_id] = asked.get("visibility", "not said")
        self._json({"url": f"{self.state.url}/{key[0]}/{repo_id}", "name": repo_id}, 409 if there else 200)

    def _preupload(self) -> None:
        files = json.loads(self._body)["files"]
        self._json({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})

    def _commit(self, kind: str, repo_id: str) -> None:
        """One JSON object a line: the header, then a file each, its bytes in base64."""
        lines = [json.loads(line) for line in self._body.splitlines() if line.strip()]
        sent = {e["value"]["path"]: base64.b64decode(e["value"]["content"]) for e in lines if e["key"] == "file"}
        repository = self.state.repositories[kind, repo_id]
        repository.files = {**repository.files, **sent}
        url = f"{self.state.url}/{kind}/{repo_id}/commit/{repository.commit}"
        self._json({"success": True, "commitOid": repository.commit, "commitUrl": url, "hookOutput": ""})

    def _wanted_paths(self) -> list[str]:
        from urllib.parse import parse_qs

        if "json" in self.headers.get("Content-Type", ""):
            paths = json.loads(self._body).get("paths", [])
            return [paths] if isinstance(paths, str) else paths
        return parse_qs(self._body.decode()).get("paths", [])

    def _file(self, repository: Repository, name: str) -> None:
        data = repository.files.get(name)
        if data is None:
            self._refuse(404, "EntryNotFound", "Entry not found", repository.commit)
            return
        start = 0
        if ranged := re.match(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(ranged[1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", f'"{digest(data)}"')
        self.send_header("X-Repo-Commit", repository.commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        if repository.mood == BREAKS_OFF:
            if not start:
                self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        self.wfile.write(data[start:])

    def _json(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str, commit: str = "") -> None:
        body = json.dumps({"error": message}).encode()
        self.send_response(status)
        for name, value in (("X-Error-Code", code), ("X-Error-Message", message), ("X-Repo-Commit", commit)):
            if value:
                self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


_WHEN = "2026-01-01T00:00:00.000Z"
