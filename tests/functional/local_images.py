"""Small images made by hand, pushed through the emulator's registry API, and functions that stand on them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import platform
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.functional.conftest import EmbeddedAws

ROOT = Path(__file__).resolve().parents[2]
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def tar(files: Mapping[str, bytes]) -> bytes:
    """A layer's archive with the files under /var/task."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folders = {"var", "var/task"}
        for name in files:
            parts = f"var/task/{name}".split("/")
            folders |= {"/".join(parts[:count]) for count in range(1, len(parts))}
        for folder in sorted(folders):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"var/task/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o644, 315_532_800
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def runtime_client(folder: Path) -> dict[str, bytes]:
    """awslambdaric as the images ship it, from the locked requirements."""
    locked = ROOT / "pipeline" / "assembly" / "dependencies" / "runtime-requirements.txt"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [
            uv,
            "pip",
            "install",
            "--quiet",
            "--target",
            folder,
            "--require-hashes",
            "-r",
            locked,
            "--python",
            sys.executable,
        ],
        check=True,
    )
    wanted = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in wanted}


@dataclass
class Registry:
    """Pushes images of a few files over the distribution API."""

    aws: EmbeddedAws
    client_layer: bytes
    pushed: set[tuple[str, str]] = field(default_factory=set)

    @cached_property
    def login(self) -> str:
        answer = self.aws.client("ecr").get_authorization_token()
        return f"Basic {answer['authorizationData'][0]['authorizationToken']}"

    def push(self, repository: str, files: Mapping[str, str], **config: Any) -> str:
        """Push an image of the runtime client and the files; returns its URI by digest."""
        return self.push_layers(
            repository, [self.client_layer, tar({n: c.encode() for n, c in files.items()})], **config
        )

    def push_layers(
        self, repository: str, archives: list[bytes], *, architecture: str = MACHINE, lie: bool = False, **config: Any
    ) -> str:
        uri = self.repository(repository)
        layers = [gzip.compress(archive, 1, mtime=0) for archive in archives]
        settings = {
            "Entrypoint": ["python3", "-m", "awslambdaric"],
            "Cmd": ["handler.handle"],
            "WorkingDir": "/var/task",
            "Env": ["PATH=/usr/bin:/bin", "LAMBDA_TASK_ROOT=/var/task", "PYTHONPATH=/var/task"],
        }
        diff_ids = [digest(b"something else" if lie else archive) for archive in archives]
        image = {
            "architecture": architecture,
            "os": "linux",
            "config": settings | config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        document = json.dumps(image).encode()
        for blob in (*layers, document):
            self._blob(repository, blob)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest(document), "size": len(document)},
            "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": len(layer)} for layer in layers],
        }
        return f"{uri}@{self.put_manifest(repository, manifest)}"

    def put_manifest(self, repository: str, manifest: Mapping[str, Any]) -> str:
        content = json.dumps(manifest).encode()
        self._send("PUT", f"/v2/{repository}/manifests/{digest(content)}", content, manifest["mediaType"])
        return digest(content)

    def take_manifest(self, repository: str, reference: str) -> Any:
        """Remove a manifest from the registry, and return it."""
        path = f"/v2/{repository}/manifests/{reference}"
        manifest = json.loads(self._send("GET", path))
        self._send("DELETE", path)
        return manifest

    def take_layer(self, repository: str, reference: str) -> bytes:
        """Remove an image's last layer from the registry, and return it."""
        manifest = json.loads(self._send("GET", f"/v2/{repository}/manifests/{reference}"))
        path = f"/v2/{repository}/blobs/{manifest['layers'][-1]['digest']}"
        layer = self._send("GET", path)
        self._send("DELETE", path)
        return layer

    def put_blob(self, repository: str, content: bytes) -> None:
        self._send(
            "POST", f"/v2/{repository}/blobs/uploads/?digest={digest(content)}", content, "application/octet-stream"
        )

    def repository(self, name: str) -> str:
        ecr = self.aws.client("ecr")
        try:
            return str(ecr.create_repository(repositoryName=name)["repository"]["repositoryUri"])
        except ecr.exceptions.RepositoryAlreadyExistsException:
            return str(ecr.describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryUri"])

    def _blob(self, repository: str, content: bytes) -> None:
        if (repository, digest(content)) not in self.pushed:
            self.put_blob(repository, content)
            self.pushed.add((repository, digest(content)))

    def _send(self, method: str, path: str, content: bytes | None = None, media_type: str = MANIFEST) -> bytes:
        request = urllib.request.Request(
            self.aws.endpoint + path, data=content, method=method,
            headers={"Content-Type": media_type, "Authorization": self.login},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())


def make_role(
    aws: EmbeddedAws, name: str, *statements: Mapping[str, Any], service: str = "lambda.amazonaws.com"
) -> str:
    iam = aws.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]
    if statements:
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy)
    return str(role["Arn"])


@dataclass(frozen=True)
class Answer:
    """What Invoke gave: ``error`` is None, "Handled" or "Unhandled"."""

    payload: Any
    error: str | None
    log: str
    seconds: float


@dataclass
class Function:
    """An image function of the embedded AWS."""

    aws: EmbeddedAws
    name: str

    @classmethod
    def create(cls, aws: EmbeddedAws, name: str, uri: str, role: str, **settings: Any) -> Function:
        chosen = {"Timeout": 5, "MemorySize": 256, "LoggingConfig": {"LogGroup": name}} | settings
        aws.client("lambda").create_function(
            FunctionName=name, PackageType="Image", Code={"ImageUri": uri}, Role=role, **chosen
        )
        return cls(aws, name)

    def update(self, uri: str) -> None:
        self.aws.client("lambda").update_function_code(FunctionName=self.name, ImageUri=uri)

    def invoke(self, event: Any = None) -> Answer:
        client, started = self.aws.client("lambda"), time.monotonic()
        answer = client.invoke(FunctionName=self.name, Payload=json.dumps(event or {}), LogType="Tail")
        payload = json.loads(answer["Payload"].read())
        log = base64.b64decode(answer.get("LogResult", "")).decode()
        return Answer(payload, answer.get("FunctionError"), log, time.monotonic() - started)
