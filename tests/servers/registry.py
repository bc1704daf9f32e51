"""A registry on loopback with configurable faults: a real HTTP server, its state in memory.

    with LoopbackRegistry() as server:
        server.faults.append(Fault("PATCH *", "cut_request", after=4096))
        Registry(server.host).upload_blob(…)
        assert server.calls == ["HEAD …", …]

Without faults it follows the distribution specification strictly: chunks in order, 416 with the offset that it has,
manifests only when their blobs are there, digests verified.
"""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

Kind = Literal["status", "cut", "cut_request", "lose_answer", "cut_answer"]


@dataclass
class Fault:
    """What happens to requests whose ``"METHOD /path"`` matches ``pattern`` (shell wildcards).

    kind    status: answered ``status`` without being carried out
            cut: the connection ends before the request is read
            cut_request: the connection ends after ``after`` bytes of the request's body; an upload keeps what came
            lose_answer: carried out, and the connection ends without an answer
            cut_answer: the connection ends after ``after`` bytes of the answer's body
    skip    this many matching requests pass first
    times   this many fail then; None for all
    """

    pattern: str
    kind: Kind = "status"
    status: int = 500
    code: str = "UNKNOWN"
    message: str = "made for the test"
    headers: dict[str, str] = field(default_factory=dict)
    after: int = 0
    skip: int = 0
    times: int | None = 1
    met: int = 0

    def takes(self, call: str) -> bool:
        if not fnmatch.fnmatchcase(call, self.pattern):
            return False
        self.met += 1
        return self.met > self.skip and (self.times is None or self.met <= self.skip + self.times)


@dataclass
class Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)

    def hold(self, content: bytes) -> None:
        """A blob, and a manifest that refers to it."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[digest] = content
        manifest = json.dumps({"layers": [{"digest": digest}]}).encode()
        self.manifests[f"sha256:{hashlib.sha256(manifest).hexdigest()}"] = (manifest, "application/json")


@dataclass
class Answered:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def problem(status: int, code: str, message: str = "", **headers: str) -> Answered:
    body = json.dumps({"errors": [{"code": code, "message": message or code.lower(), "detail": {}}]}).encode()
    return Answered(status, {"Content-Type": "application/json", **headers}, body)


class LoopbackRegistry:
    """The registry; its attributes are the behaviours that a test chooses.

    mounts         whether a cross-repository mount is done (201) or refused with a session (202)
    auth           None, "basic" or "bearer"; the login is ``user`` / ``secret``
    anonymous      whether the token service gives tokens without a login
    token_seconds  how long a bearer token lives, as it is announced; None announces nothing
    token_uses     how many requests a token is good for; None for any number
    expired        the response to an expired token: 401 with a challenge, or 403/400 without one as ECR does
    chunk_minimum  the OCI-Chunk-Min-Length that is announced and enforced
    acknowledged   given the true count of bytes, the count to write into ``Range``
    ecr            PATCH answered 201, ``Range`` stuck at the first chunk, no upload status
    blob_host      where GETs of blobs are redirected to ("http://127.0.0.1:PORT")
    immutable      tags cannot be set again, not even to what they name, as in ECR
    referrers      answers OCI-Subject
    create         repositories come into being by a push; otherwise they must be in ``repositories``
    manifest_type  the media type that every manifest is served with, whatever it was pushed as
    blob_answer    replaces the content of a blob that is fetched; ``lengths`` the Content-Length announced for it
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.repositories: dict[str, Repository] = {}
        self.faults: list[Fault] = []
        self.calls: list[str] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.mounts = True
        self.auth: Literal["basic", "bearer"] | None = None
        self.anonymous = False
        self.token_seconds: int | None = 300
        self.token_uses: int | None = None
        self.expired = 401
        self.logins: list[str] = [base64.b64encode(b"user:secret").decode()]
        self.tokens: dict[str, int] = {}
        self.token_requests: list[dict[str, list[str]]] = []
        self.chunk_minimum: int | None = None
        self.acknowledged: Callable[[int], int] = lambda count: count
        self.ecr = False
        self.blob_host: str | None = None
        self.immutable = False
        self.referrers = False
        self.create = True
        self.blob_answer: Callable[[bytes], bytes] = lambda content: content
        self.lengths: Callable[[int], int | None] = lambda length: length
        self.manifest_answer: Callable[[bytes], bytes] = lambda content: content
        self.manifest_type: str | None = None
        self.received = 0
        self.on_received: Callable[[int], None] = lambda _count: None
        self.put_times: list[float] = []
        self.lock = threading.RLock()
        self._server = _Server(self, tls)
        self._scheme = "https" if tls is not None else "http"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.002}, daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()

    def repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())

    def handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answered:
        """Carry out one request that no fault took; ``headers`` by lower-case name."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/token":
            return self._token(method, parts.query, headers, body)
        refused = self._authorise(headers)
        if refused is not None:
            return refused
        match = re.fullmatch(r"/v2/(.+)/(blobs/uploads|blobs|manifests)/([^/]*)", parts.path)
        if match is None:
            return problem(404, "UNSUPPORTED")
        name, kind, reference = match.groups()
        if name not in self.repositories and not (self.create and method in ("POST", "PUT")):
            return problem(404, "NAME_UNKNOWN", f"the repository {name} does not exist")
        repository = self.repository(name)
        if kind == "manifests":
            return self._manifest(method, name, repository, reference, headers, body)
        if kind == "blobs":
            return self._blob(method, name, repository, reference, headers)
        return self._upload(method, name, repository, reference, headers, query, body)

    def keep(self, target: str, part: bytes) -> None:
        """A chunk that broke off: what came stays in the upload, as with real registries."""
        match = re.fullmatch(r"/v2/(.+)/blobs/uploads/([^/]+)", urlsplit(target).path)
        upload = self.repository(match[1]).uploads.get(match[2]) if match else None
        if upload is not None:
            upload += part

    def _token(self, method: str, query: str, headers: dict[str, str], body: bytes) -> Answered:
        asked = parse_qs(body.decode() if method == "POST" else query)
        self.token_requests.append(asked)
        login = headers.get("authorization", "").removeprefix("Basic ")
        refresh = asked.get("refresh_token", [""])[0]
        if not (login in self.logins or refresh == "identity" or (self.anonymous and not login)):
            return problem(401, "UNAUTHORIZED", "wrong login")
        token = f"token-{uuid.uuid4().hex}"
        self.tokens[token] = self.token_uses if self.token_uses is not None else 1 << 30
        document: dict[str, Any] = {"access_token" if method == "POST" else "token": token}
        if self.token_seconds is not None:
            document["expires_in"] = self.token_seconds
        return Answered(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _authorise(self, headers: dict[str, str]) -> Answered | None:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if self.auth == "basic" and not (scheme == "Basic" and value in self.logins):
            if value and self.expired != 401:
                return problem(
                    self.expired, "DENIED", "Your authorization token has expired. Reauthenticate and try again."
                )
            return problem(401, "UNAUTHORIZED", "login needed", **{"WWW-Authenticate": 'Basic realm="registry"'})
        if self.auth == "bearer":
            left = self.tokens.get(value, 0) if scheme == "Bearer" else 0
            if left <= 0:
                if value and self.expired != 401:
                    return problem(self.expired, "DENIED", "Your Authorization Token has expired.")
                challenge = f'Bearer realm="{self.url}/token",service="loopback",scope="repository:x:pull"'
                return problem(401, "UNAUTHORIZED", "token needed", **{"WWW-Authenticate": challenge})
            self.tokens[value] = left - 1
        return None

    def _manifest(
        self, method: str, name: str, repository: Repository, reference: str, headers: dict[str, str], body: bytes
    ) -> Answered:
        if method == "PUT":
            self.put_times.append(time.monotonic())
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            if reference.startswith("sha256:") and reference != digest:
                return problem(400, "DIGEST_INVALID")
            if self.immutable and reference in repository.tags:
                return problem(400, "TAG_INVALID", f"The image tag '{reference}' already exists and is immutable.")
            document = json.loads(body)
            needed = [document["config"], *document["layers"]] if "layers" in document else []
            missing = [entry["digest"] for entry in needed if entry["digest"] not in repository.blobs]
            if missing:
                return problem(404, "MANIFEST_BLOB_UNKNOWN", f"missing {missing[0]}")
            repository.manifests[digest] = (body, headers.get("content-type", ""))
            if not reference.startswith("sha256:"):
                repository.tags[reference] = digest
            answer = {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/manifests/{digest}"}
            if self.referrers and "subject" in document:
                answer["OCI-Subject"] = document["subject"]["digest"]
            return Answered(201, answer)
        digest = repository.tags.get(reference, reference)
        found = repository.manifests.get(digest)
        if found is None:
            return problem(404, "MANIFEST_UNKNOWN", f"no manifest {reference}")
        return Answered(
            200,
            {"Content-Type": self.manifest_type or found[1], "Docker-Content-Digest": digest},
            self.manifest_answer(found[0]),
        )

    def _blob(
        self, method: str, name: str, repository: Repository, reference: str, headers: dict[str, str]
    ) -> Answered:
        content = repository.blobs.get(reference)
        if content is None:
            return problem(404, "BLOB_UNKNOWN", f"no blob {reference}")
        if method == "GET" and self.blob_host is not None:
            return Answered(307, {"Location": f"{self.blob_host}/v2/{name}/blobs/{reference}?signature=abc"})
        content = self.blob_answer(content)
        first = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        if method == "GET" and first is not None:
            offset = int(first[1])
            span = f"bytes {offset}-{len(content) - 1}/{len(content)}"
            return Answered(206, {"Content-Range": span}, content[offset:])
        return Answered(200, {"Docker-Content-Digest": reference}, content)

    def _upload(
        self,
        method: str,
        name: str,
        repository: Repository,
        session: str,
        headers: dict[str, str],
        query: dict[str, str],
        body: bytes,
    ) -> Answered:
        if method == "POST":
            source = self.repositories.get(query.get("from", ""), Repository())
            # As ECR does, only what a manifest of the other repository refers to.
            referred = any(query.get("mount", "?").encode() in content for content, _ in source.manifests.values())
            if self.mounts and referred and query["mount"] in source.blobs:
                repository.blobs[query["mount"]] = source.blobs[query["mount"]]
                return Answered(201, {"Location": f"/v2/{name}/blobs/{query['mount']}"})
            session = uuid.uuid4().hex
            repository.uploads[session] = bytearray()
            return self._accepted(202, name, session, repository)
        upload = repository.uploads.get(session)
        if upload is None:
            return problem(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        if method == "GET":
            return problem(404, "BLOB_UPLOAD_UNKNOWN") if self.ecr else self._accepted(204, name, session, repository)
        if method == "PATCH":
            start = int(headers["content-range"].partition("-")[0])
            if start != len(upload):
                refused = problem(416, "RANGE_INVALID", f"expected {len(upload)}")
                refused.headers["Range"] = f"0-{max(0, len(upload) - 1)}"
                return refused
            upload += body
            return self._accepted(201 if self.ecr else 202, name, session, repository)
        content = bytes(upload) + body
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if digest != query.get("digest"):
            return problem(400, "DIGEST_INVALID", "the content has another digest")
        repository.blobs[digest] = content
        del repository.uploads[session]
        return Answered(201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})

    def _accepted(self, status: int, name: str, session: str, repository: Repository) -> Answered:
        count = len(repository.uploads[session])
        if self.ecr:
            count = min(count, 1000)
        headers = {
            "Location": f"/v2/{name}/blobs/uploads/{session}?state={count}",
            "Range": f"0-{max(0, self.acknowledged(count) - 1)}",
        }
        if status == 202 and self.chunk_minimum is not None:
            headers["OCI-Chunk-Min-Length"] = str(self.chunk_minimum)
        return Answered(status, headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, registry: LoopbackRegistry, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.registry = registry
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that end in the middle are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    server: _Server

    def log_message(self, *_arguments: object) -> None:
        """The registry keeps its own record."""

    def _serve(self) -> None:
        registry, call = self.server.registry, f"{self.command} {urlsplit(self.path).path}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        with registry.lock:
            registry.calls.append(call)
            registry.requests.append((f"{self.command} {self.path}", headers))
            fault = next((fault for fault in registry.faults if fault.takes(call)), None)
        if fault is not None and fault.kind == "cut":
            self._cut()
            return
        length = int(headers.get("content-length", "0"))
        body = bytearray()
        for block in self._blocks(length if fault is None or fault.kind != "cut_request" else min(length, fault.after)):
            body += block
            registry.received += len(block)
            registry.on_received(registry.received)
        if fault is not None and fault.kind == "cut_request":
            with registry.lock:
                registry.keep(self.path, bytes(body))
            self._cut()
            return
        if fault is not None and fault.kind == "status":
            self._answer(problem(fault.status, fault.code, fault.message, **fault.headers))
            return
        with registry.lock:
            answer = registry.handle(self.command, self.path, headers, bytes(body))
        if fault is not None and fault.kind == "lose_answer":
            self._cut()
            return
        self._answer(answer, cut_after=fault.after if fault is not None else None)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _serve

    def _blocks(self, length: int) -> Iterator[bytes]:
        while length > 0:
            block = self.rfile.read1(min(length, 64 * 1024))  # type: ignore[attr-defined]
            if not block:
                raise ConnectionResetError
            length -= len(block)
            yield block

    def _answer(self, answer: Answered, cut_after: int | None = None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        is_blob = self.command == "GET" and "/blobs/sha256:" in self.path and answer.status in (200, 206)
        length = self.server.registry.lengths(len(answer.body)) if is_blob else len(answer.body)
        if length is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        elif answer.status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body if cut_after is None else answer.body[:cut_after])
        self.wfile.flush()
        if cut_after is not None or (length is not None and length > len(answer.body)):
            self._cut(reset=False)

    def _cut(self, *, reset: bool = True) -> None:
        """End the connection: with a reset, as a crash does, or in order, as a proxy does that gives up."""
        self.close_connection = True
        if not reset:
            return
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.shutdown(socket.SHUT_RDWR)


def assert_whole(server: LoopbackRegistry) -> None:
    """What every run leaves behind, whatever happened to it: a tag means a complete image."""
    with server.lock:
        for repository in server.repositories.values():
            for digest in repository.tags.values():
                document = json.loads(repository.manifests[digest][0])
                for entry in [document["config"], *document["layers"]]:
                    assert entry["digest"] in repository.blobs
