"""Run one build of a Dockerfile in a container engine: the classic builder, or ``docker buildx``."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from typing import IO, Any

from pipeline.assembly.model import FunctionSource, Platform
from pipeline.core.children import run_child
from pipeline.engine.build_context import DOCKERFILE
from pipeline.engine.build_output import BuildFailed, build_error, read_buildx
from pipeline.engine.connection import engine_address, explain, is_podman

# Podman ignores Docker's "none" and gives the build the machine's network; this is Podman's own value (seen in 5.4).
_NO_NETWORK_OF_PODMAN = "NetworkDisabled"
# Packages of a distribution and a compiler take minutes, emulated for another architecture much longer.
BUILD_SECONDS = 3600.0
_VERSION_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One build.

    base       a reference that the engine has or can pull, for the build argument BASE_IMAGE, in a build without a
               network; None for a Dockerfile that names its own base and may use the engine's network
    otherwise  how to do without an engine
    """

    source: FunctionSource
    platform: Platform
    base: str | None
    otherwise: str

    @property
    def labels(self) -> dict[str, str]:
        return {"org.opencontainers.image.title": self.source.name}

    @property
    def repository(self) -> str:
        return f"transaction-pipeline/{self.source.name}"

    @property
    def tag(self) -> str:
        return f"{self.repository}:latest"

    @property
    def oci_platform(self) -> str:
        return f"linux/{self.platform.architecture.oci}"

    @property
    def arguments(self) -> dict[str, str]:
        return {} if self.base is None else {"BASE_IMAGE": self.base}


def run_build(engine: Any, request: BuildRequest, context: IO[bytes], buildx: bool | None) -> str:
    """Build and return the image's id. The tag names the latest build; the previous image is removed.

    buildx  None prefers it for a Dockerfile that names its own base, as ``docker build`` does since version 23, because
            such a Dockerfile may use BuildKit's syntax; otherwise it is used where there is no classic builder

    The id is read by a tag of this build alone: another project may build a function of the same name.
    """
    import docker

    if buildx is None and request.base is None and has_buildx() and not is_podman(engine):
        buildx = True
    what = f"{request.source.name} was not built"
    tag = f"{request.repository}:building-{uuid.uuid4().hex}"
    before = _image_id(engine, request.tag)
    if not buildx:
        try:
            _build_classic(engine, request, tag, context)
        except _NoClassicBuilder as error:
            if buildx is False or not has_buildx():
                raise BuildFailed(
                    what,
                    f"the engine at {engine_address()} has no classic builder ({error}) and `docker buildx` is missing",
                    f"Install the buildx plugin. {request.otherwise}",
                ) from error
            buildx = True
            context.seek(0)
    if buildx:
        _build_with_buildx(request, tag, context)
    built = _image_id(engine, tag)
    if built is None:
        raise BuildFailed(
            what,
            f"the engine at {engine_address()} reported success but does not have the image",
            "See the engine's log.",
        )
    engine.tag(built, request.repository, "latest")
    engine.remove_image(tag)
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


def _build_classic(engine: Any, request: BuildRequest, tag: str, context: IO[bytes]) -> None:
    """docker-py has the API of the classic builder only."""
    import docker
    import requests

    said: list[str] = []
    none = _NO_NETWORK_OF_PODMAN if is_podman(engine) else "none"
    try:
        for line in engine.build(
            fileobj=context, custom_context=True, dockerfile=DOCKERFILE, tag=tag, decode=True, rm=True,
            forcerm=True, buildargs=request.arguments, labels=request.labels, platform=request.oci_platform,
            network_mode=None if request.base is None else none,
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
    try:
        return run_child(["docker", "buildx", "version"], seconds=_VERSION_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _build_with_buildx(request: BuildRequest, tag: str, context: IO[bytes]) -> None:
    """Build without attestations, which would make the result an index, which Lambda refuses.

    Uses the engine's own builder even if the user selected another: one in a container does not have the images.
    """
    command = [
        "docker", "buildx", "build", "--builder=default", "--provenance=false", "--sbom=false", "--load",
        "--platform", request.oci_platform, "--progress=plain", "--file", DOCKERFILE, "--tag", tag,
    ]  # fmt: skip
    command += [] if request.base is None else ["--network=none"]
    for option, values in (("--build-arg", request.arguments), ("--label", request.labels)):
        for name, value in sorted(values.items()):
            command += [option, f"{name}={value}"]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("DOCKER_CONTEXT", "BUILDX_BUILDER")
    }
    environment |= {"DOCKER_HOST": engine_address(), "DOCKER_BUILDKIT": "1"}
    try:
        done = run_child([*command, "-"], content=context, environment=environment, seconds=BUILD_SECONDS)
    except subprocess.TimeoutExpired as expired:
        raise BuildFailed(
            f"{request.source.name} was not built",
            f"`docker buildx` was still building after {expired.timeout:,.0f} s",
            'Shorten the Dockerfile\'s steps, or build the image elsewhere and name it in function.toml: image = "…".',
        ) from expired
    except OSError as error:
        raise BuildFailed(
            f"{request.source.name} was not built",
            f"`docker` could not be started: {error.strerror}",
            f"Repair it. {request.otherwise}",
        ) from error
    if done.returncode != 0:
        reason, output = read_buildx(done.stderr.decode(errors="replace"))
        raise build_error(request.source, request.base, reason or f"exit status {done.returncode}", output)
