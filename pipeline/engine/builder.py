"""Build a function's image with its Dockerfile and a container engine.

The build context contains the layers of the daemonless builder, so both builders ship the same files. The built image
is read into the store layer by layer, then checked and pushed like any other. Layers with only plain files are
rewritten in our format, so they have the digests of the daemonless layers on any engine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from pipeline.assembly.layers import lay_out
from pipeline.assembly.model import Base, FunctionSource, Image, Platform
from pipeline.assembly.slim import Slim
from pipeline.core.errors import BaseImageError
from pipeline.core.events import Report, ignore, step
from pipeline.engine.build_context import DOCKERFILE, write_context
from pipeline.engine.build_output import BuildFailed, build_error, read_buildx
from pipeline.engine.connection import connect_engine, engine_address, explain, is_podman, load_image
from pipeline.engine.export import read_image
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import Digest
from pipeline.oci.work import work_folder

_OTHERWISE = "Without an engine, omit --builder docker."
# Podman ignores Docker's "none" and gives the build the machine's network; this is Podman's own value (seen in 5.4).
_NO_NETWORK_OF_PODMAN = "NetworkDisabled"


@dataclass(frozen=True, slots=True)
class DockerBuilder:
    """Builds images from Dockerfiles into ``store``.

    slim    what to omit from dependencies; None omits what the function does not need
    engine  a Docker client; None connects to the engine of ``$DOCKER_HOST`` or the Docker context
    buildx  build with ``docker buildx`` instead of the classic API; None uses what the engine supports
    """

    platform: Platform
    store: BlobStore
    slim: Slim | None = None
    report: Report = ignore
    engine: Any = None
    buildx: bool | None = None

    def build(self, source: FunctionSource, base: Base | str) -> Image:
        """Build the image of a function.

        base  for the build argument BASE_IMAGE: a reference, or the result of ``choose_base``, whose layers keep their
              registry's digests, and which is loaded into the engine if it is from an OCI layout

        Raises SourceError, DependencyError, BaseImageError, BuildFailed, StorageError, and LocalError without an
        engine.
        """
        engine = self.engine or connect_engine(f"{source.name} was not built", _OTHERWISE)
        slim = self.slim if self.slim is not None else Slim.for_sources([source])
        layers = lay_out(source, self.platform, self.store, slim=slim, report=self.report)
        with work_folder(self.store) as work:
            reference = base if isinstance(base, str) else _reference(engine, base, self.store, work, source)
            request = _Request(source, self.platform, reference)
            with step(self.report, "docker build", source.name), tempfile.TemporaryFile(dir=work) as context:
                write_context(source, layers, self.store, context)
                context.seek(0)
                identifier = _build(engine, request, context, self.buildx)
            try:
                return read_image(
                    engine, identifier, self.store, work, self.platform, base if isinstance(base, Base) else None
                )
            except (ValueError, tarfile.TarError) as error:
                raise BuildFailed(
                    f"{source.name} was built, and could not be read", str(error), f"Its engine is {engine_address()}."
                ) from error


@dataclass(frozen=True, slots=True)
class _Request:
    """One build. base: a reference that the engine has or can pull."""

    source: FunctionSource
    platform: Platform
    base: str

    @property
    def labels(self) -> dict[str, str]:
        return {"org.opencontainers.image.title": self.source.name}

    @property
    def tag(self) -> str:
        return f"transaction-pipeline/{self.source.name}:latest"

    @property
    def oci_platform(self) -> str:
        return f"linux/{self.platform.architecture.oci}"


def _reference(engine: Any, base: Base, store: BlobStore, work: Path, source: FunctionSource) -> str:
    """A reference of the base that the engine has or can pull."""
    import docker

    what = f"{source.name} was not built"
    if not base.layers:
        raise BaseImageError(what, "a Dockerfile needs a base with an operating system", "Name one with --base.")
    if base.reference is not None and base.reference.registry:
        return str(base.reference)
    tag = f"transaction-pipeline/base:{Digest.of(base.config).short}"
    try:
        engine.inspect_image(tag)
    except docker.errors.ImageNotFound:
        layers = [partial(store.open, layer.descriptor.digest) for layer in base.layers]
        load_image(engine, base.config, layers, tag, work)
    return tag


def _build(engine: Any, request: _Request, context: IO[bytes], buildx: bool | None) -> str:
    """Build and return the image's id. The tag names the latest build; the previous image is removed."""
    import docker

    what = f"{request.source.name} was not built"
    before = _image_id(engine, request.tag)
    if not buildx:
        try:
            _build_classic(engine, request, context)
        except _NoClassicBuilder as error:
            if buildx is False or not has_buildx():
                raise BuildFailed(
                    what,
                    f"the engine at {engine_address()} has no classic builder ({error}) and `docker buildx` is missing",
                    f"Install the buildx plugin. {_OTHERWISE}",
                ) from error
            buildx = True
            context.seek(0)
    if buildx:
        _build_with_buildx(request, context)
    built = _image_id(engine, request.tag)
    if built is None:
        raise BuildFailed(
            what,
            f"the engine at {engine_address()} reported success but does not have the image",
            "See the engine's log.",
        )
    if before not in (None, built):
        with contextlib.suppress(docker.errors.APIError):  # another tag or a container still uses it
            engine.remove_image(before)
    return built


class _NoClassicBuilder(Exception):
    """The engine only has BuildKit."""


def _image_id(engine: Any, name: str) -> str | None:
    import docker

    try:
        return str(engine.inspect_image(name)["Id"])
    except docker.errors.ImageNotFound:
        return None


def _build_classic(engine: Any, request: _Request, context: IO[bytes]) -> None:
    """docker-py has the API of the classic builder only."""
    import docker
    import requests

    said: list[str] = []
    try:
        for line in engine.build(
            fileobj=context, custom_context=True, dockerfile=DOCKERFILE, tag=request.tag, decode=True, rm=True,
            forcerm=True, buildargs={"BASE_IMAGE": request.base}, labels=request.labels,
            platform=request.oci_platform, network_mode=_NO_NETWORK_OF_PODMAN if is_podman(engine) else "none",
        ):  # fmt: skip
            if "error" in line:
                raise build_error(request.source, request.base, str(line["error"]), said)
            said.append(str(line.get("stream", "")).strip())
    except docker.errors.APIError as error:
        cause = explain(error)
        if error.status_code in (404, 501) or "buildkit" in cause.lower():
            raise _NoClassicBuilder(cause) from error
        raise build_error(request.source, request.base, cause, said) from error
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise BuildFailed(
            f"{request.source.name} was not built",
            f"the engine at {engine_address()} stopped answering ({explain(error)})",
            "Start it again, and run the command again.",
        ) from error


def has_buildx() -> bool:
    """Whether there is a docker command with the buildx plugin."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "buildx", "version"], capture_output=True).returncode == 0


def _build_with_buildx(request: _Request, context: IO[bytes]) -> None:
    """Build without attestations, which would make the result an index, which Lambda refuses.

    Uses the engine's own builder even if the user selected another: one in a container does not have the images.
    """
    command = [
        "docker", "buildx", "build", "--builder=default", "--provenance=false", "--sbom=false", "--load",
        "--network=none", "--platform", request.oci_platform, "--build-arg", f"BASE_IMAGE={request.base}",
        "--progress=plain", "--file", DOCKERFILE, "--tag", request.tag,
    ]  # fmt: skip
    for name, value in sorted(request.labels.items()):
        command += ["--label", f"{name}={value}"]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("DOCKER_CONTEXT", "BUILDX_BUILDER")
    }
    environment |= {"DOCKER_HOST": engine_address(), "DOCKER_BUILDKIT": "1"}
    done = subprocess.run([*command, "-"], stdin=context, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        error, output = read_buildx(done.stderr)
        raise build_error(request.source, request.base, error or f"exit status {done.returncode}", output)
