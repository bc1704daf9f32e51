"""Connect to a container engine, and export and load its images.

Supports any engine with Docker's API: Docker Engine 20.10 and newer, or Podman's socket.
"""

from __future__ import annotations

import io
import json
import os
import socket
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from pipeline.core.errors import LocalError, PipelineError
from pipeline.oci.values import Digest

# Engine API of Docker 20.10; Podman 4 speaks it too.
_API_LEAST = (1, 41)
_TIMEOUT = 120
# Calls that wait (logs, exits) hold a connection each.
_CONNECTIONS = 256
_DOCUMENT_MOST = 8 << 20
_BLOCK = 1 << 20


def engine_address() -> str:
    """``$DOCKER_HOST``, or the first existing socket: Docker, rootless Docker, Podman of the user, Podman of root."""
    chosen = os.environ.get("DOCKER_HOST")
    if chosen:
        return chosen
    own = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    usual = "/var/run/docker.sock"
    for path in (usual, f"{own}/docker.sock", f"{own}/podman/podman.sock", "/run/podman/podman.sock"):
        if Path(path).is_socket():
            return f"unix://{path}"
    return f"unix://{usual}"


def connect_engine(what: str, otherwise: str) -> Any:
    """A ``docker.APIClient`` of the engine at ``engine_address()``; safe to use from several threads.

    what       what fails without an engine: "the functions were not started in containers"
    otherwise  how to do without one: "Omit --runtime docker: …"

    Raises LocalError if no engine answers, or it is too old.
    """
    import docker
    import requests

    address = engine_address()
    try:
        _knock(address)
        client = docker.APIClient(
            base_url=address, version="auto", timeout=_TIMEOUT, max_pool_size=_CONNECTIONS, tls=_tls(address)
        )
        version = client.version()
    except (docker.errors.DockerException, requests.RequestException, OSError, ValueError) as error:
        raise LocalError(
            what,
            f"no container engine answers at {address} ({_cause(error)})",
            f"Start Docker or Podman, or point DOCKER_HOST at its socket. {otherwise}",
        ) from error
    offered = str(version.get("ApiVersion", "0.0"))
    if tuple(int(part) for part in offered.split(".")) < _API_LEAST:
        raise LocalError(
            what,
            f"the engine at {address} is {version.get('Version')} with API {offered}; API 1.41 or newer is needed",
            f"Install Docker Engine 20.10 or newer, or Podman 4 or newer. {otherwise}",
        )
    return client


def is_podman(engine: Any) -> bool:
    """Whether the engine is Podman. Raises docker-py's errors."""
    return any("podman" in str(each.get("Name")).lower() for each in engine.version().get("Components") or ())


def _knock(address: str) -> None:
    """Raises OSError if nothing listens there. docker-py's error is less clear, and it leaves its socket open."""
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.connect(address.removeprefix("unix://"))


def _tls(address: str) -> Any:
    if not address.startswith("tcp:") or not os.environ.get("DOCKER_TLS_VERIFY"):
        return False
    import docker

    folder = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    pair = (str(folder / "cert.pem"), str(folder / "key.pem"))
    return docker.tls.TLSConfig(client_cert=pair, ca_cert=str(folder / "ca.pem"), verify=True)


def _cause(error: BaseException) -> str:
    """The innermost cause of docker-py's nested connection errors."""
    inner: BaseException = error
    seen = set()
    while id(inner) not in seen:
        seen.add(id(inner))
        inner = inner.__cause__ or inner.__context__ or inner
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror.lower()
    return str(inner) or type(inner).__name__


def explain(error: BaseException) -> str:
    """The engine's message, without docker-py's prefix."""
    said = getattr(error, "explanation", None)
    return " ".join(str(said).split()) if said else _cause(error)


@dataclass(frozen=True, slots=True)
class SavedLayer:
    """A layer as the engine stores it. ``open`` returns its tar, compressed or not."""

    diff_id: Digest
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class SavedImage:
    """An exported image; valid only inside the block of ``saved_image``."""

    config: Mapping[str, Any]
    layers: tuple[SavedLayer, ...]


@contextmanager
def saved_image(engine: Any, image: str, work: Path) -> Iterator[SavedImage]:
    """``docker save`` to a folder below ``work``.

    Reads both formats: Docker's own, and since version 25 an OCI layout with Docker's ``manifest.json``. Raises
    ValueError for any other.
    """
    with tempfile.TemporaryFile(dir=work) as file:
        for block in engine.get_image(image, chunk_size=_BLOCK):
            file.write(block)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            try:
                (entry,) = json.loads(_read(archive, "manifest.json"))
                config = json.loads(_read(archive, entry["Config"]))
                diff_ids = [Digest.parse(text) for text in config["rootfs"]["diff_ids"]]
                pairs = list(zip(diff_ids, entry["Layers"], strict=True))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"its archive of {image} is not understood ({error})") from error
            yield SavedImage(config, tuple(SavedLayer(diff_id, _opener(archive, name)) for diff_id, name in pairs))


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    with _opener(archive, name)() as stream:
        return stream.read(_DOCUMENT_MOST)


def _opener(archive: tarfile.TarFile, name: str) -> Callable[[], IO[bytes]]:
    def open_member() -> IO[bytes]:
        stream = archive.extractfile(name)
        if stream is None:
            raise ValueError(f"its archive has no file {name}")
        return stream

    return open_member


def load_image(engine: Any, config: bytes, layers: Sequence[Callable[[], BinaryIO]], tag: str, work: Path) -> None:
    """``docker load`` of an image under ``tag``; layers may be gzip or plain. Raises docker-py's errors."""
    names = [f"layer-{number}.tar" for number in range(len(layers))]
    config_name = f"{Digest.of(config).hex}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [tag], "Layers": names}]).encode()
    with tempfile.TemporaryFile(dir=work) as file:
        with tarfile.open(fileobj=file, mode="w:") as archive:
            for name, opener in zip(names, layers, strict=True):
                with opener() as stream:
                    entry = tarfile.TarInfo(name)
                    entry.size = stream.seek(0, io.SEEK_END)
                    stream.seek(0)
                    archive.addfile(entry, stream)
            for name, content in ((config_name, config), ("manifest.json", manifest)):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        file.seek(0)
        for line in engine.load_image(file, quiet=True):
            if "error" in line:
                raise EngineRefused(f"{tag} was not loaded", str(line["error"]), "See the engine's log.")


class EngineRefused(PipelineError):
    """An engine's error inside of a response stream."""
