"""From a function's folder to its image by the function's own Dockerfile and a container engine.

The build context is made of the layers that the daemonless builder lays out, so both builders ship the same files.
What the engine built is read back layer by layer into the store, and goes through the same check and push as any other
image. Layers that hold only plain files are written anew as our own are: a build gives the same digests on any engine,
at any time, and they are the digests of the daemonless layers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from pipeline.assembly.layers import TASK_ROOT, lay_out
from pipeline.assembly.model import Base, FunctionSource, Image, Platform
from pipeline.assembly.slim import Slim
from pipeline.core.errors import BaseImageError, PipelineError, SourceError
from pipeline.core.events import Report, ignore, step
from pipeline.core.files import storing
from pipeline.engine.connection import connect_engine, engine_address, explain, is_podman, load_image
from pipeline.engine.export import layer_entries, read_image
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import TarEntry, tar_chunks
from pipeline.oci.values import Digest, Layer
from pipeline.oci.work import work_folder

DOCKERFILE = "Dockerfile"
# The folders that a Dockerfile copies, each the content of one or more of our layers, without /var/task.
CONTEXT_FOLDERS = ("dependencies", "shared", "function")
_OTHERWISE = "Without an engine, leave out --builder docker: images are built without one."


# Podman gives a build that asks for Docker's "none" the network of the machine. This is its own word (seen in 5.4).
_NO_NETWORK_OF_PODMAN = "NetworkDisabled"
# Of a failed program's output, how many lines are told.
_LINES_SHOWN = 5


class BuildFailed(PipelineError):
    """A Dockerfile that an engine did not build."""


def build_with_docker(
    source: FunctionSource,
    platform: Platform,
    base_reference: str,
    store: BlobStore,
    report: Report = ignore,
    *,
    base: Base | None = None,
    slim: Slim | None = None,
    labels: Mapping[str, str] | None = None,
    buildx: bool | None = None,
    engine: Any = None,
) -> Image:
    """The image of a function, built from its Dockerfile; all of its layers are in ``store``.

    base_reference  what the Dockerfile stands on, its build argument BASE_IMAGE; "" for the one that ``base`` is
    base            the same base as ``choose_base`` gave it: its layers keep the digests that its registry knows, and
                    a base of an OCI layout is loaded into the engine
    slim, labels    as for ``build_image``
    buildx          build with ``docker buildx`` instead of the classic API; None takes what the engine has

    Raises SourceError, DependencyError, BaseImageError, BuildFailed, StorageError, and LocalError without an engine.
    """
    engine = engine or connect_engine(f"{source.name} was not built", _OTHERWISE)
    slim = slim if slim is not None else Slim.for_sources([source])
    layers = lay_out(source, platform, store, slim=slim, report=report)
    with work_folder(store) as work:
        reference = base_reference or _base_reference(engine, base, store, work, source)
        wanted = {"org.opencontainers.image.title": source.name, **(labels or {})}
        with step(report, "docker build", source.name), tempfile.TemporaryFile(dir=work) as context:
            write_context(source, layers, store, context)
            context.seek(0)
            identifier = _build(engine, context, source, platform, reference, wanted, buildx)
        try:
            return read_image(engine, identifier, store, work, platform, base)
        except (ValueError, tarfile.TarError) as error:
            raise BuildFailed(
                f"{source.name} was built, and could not be read", str(error), f"Its engine is {engine_address()}."
            ) from error


def write_context(source: FunctionSource, layers: Sequence[Layer], store: BlobStore, file: IO[bytes]) -> None:
    """Write the build context as a tar: the Dockerfile, and the folders that it copies. Raises SourceError."""
    entries: list[TarEntry] = [TarEntry(folder, "directory") for folder in CONTEXT_FOLDERS]
    try:
        content = (source.folder / DOCKERFILE).read_bytes()
    except OSError as error:
        raise SourceError(
            f"{source.name} was not built",
            f"{source.folder / DOCKERFILE} cannot be read: {error.strerror}",
            "Copy the Dockerfile of another function, or leave out --builder docker.",
        ) from error
    entries.append(TarEntry(DOCKERFILE, "file", content, len(content)))
    with tempfile.TemporaryDirectory() as name:
        for layer in layers:
            with store.open(layer.descriptor.digest) as stream:
                found = layer_entries(stream, Path(name), replace=(TASK_ROOT, layer.title))
            if found is None:
                raise AssertionError(f"the {layer.title} layer is not made of plain files")
            entries += [entry for entry in found if entry.path.startswith(layer.title)]
        for chunk in tar_chunks(entries):
            file.write(chunk)


def lay_out_context(source: FunctionSource, platform: Platform, store: BlobStore, folder: Path, slim: Slim) -> None:
    """The build context as a folder, for tools that build by themselves, such as docker compose."""
    layers = lay_out(source, platform, store, slim=slim)
    making = folder.with_name(f".{folder.name}-{os.getpid()}")
    with storing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryFile() as file:
                write_context(source, layers, store, file)
                file.seek(0)
                with tarfile.open(fileobj=file, mode="r:") as archive:
                    archive.extractall(making, filter="data")  # written just above
            shutil.rmtree(folder, ignore_errors=True)
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)


def _base_reference(engine: Any, base: Base | None, store: BlobStore, work: Path, source: FunctionSource) -> str:
    """The base by a name that the engine has or can pull."""
    import docker

    what = f"{source.name} was not built"
    if base is None or not base.layers:
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


def _build(
    engine: Any,
    context: IO[bytes],
    source: FunctionSource,
    platform: Platform,
    reference: str,
    labels: Mapping[str, str],
    buildx: bool | None,
) -> str:
    """Build, and give the image's id. The tag always names the latest build; the one before it is removed."""
    import docker

    tag = f"transaction-pipeline/{source.name}:latest"
    before = _image_id(engine, tag)
    if not buildx:
        try:
            _build_classic(engine, context, source, platform, reference, labels, tag)
        except _NoClassicBuilder as error:
            if buildx is False or not has_buildx():
                raise BuildFailed(
                    f"{source.name} was not built",
                    f"the engine at {engine_address()} has no classic builder ({error}) and `docker buildx` is missing",
                    f"Install the buildx plugin. {_OTHERWISE}",
                ) from error
            buildx = True
            context.seek(0)
    if buildx:
        _build_with_buildx(context, source, platform, reference, labels, tag)
    built = _image_id(engine, tag)
    if built is None:
        raise BuildFailed(
            f"{source.name} was not built",
            f"the engine at {engine_address()} built it, and does not have it",
            "Look into the engine's log.",
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


def _build_classic(
    engine: Any,
    context: IO[bytes],
    source: FunctionSource,
    platform: Platform,
    reference: str,
    labels: Mapping[str, str],
    tag: str,
) -> None:
    """docker-py speaks the API of the classic builder only."""
    import docker
    import requests

    said: list[str] = []
    try:
        for line in engine.build(
            fileobj=context, custom_context=True, dockerfile=DOCKERFILE, tag=tag, decode=True, rm=True, forcerm=True,
            buildargs={"BASE_IMAGE": reference}, labels=dict(labels), platform=f"linux/{platform.architecture.oci}",
            network_mode=_NO_NETWORK_OF_PODMAN if is_podman(engine) else "none",
        ):  # fmt: skip
            if "error" in line:
                raise _refusal(source, reference, str(line["error"]), said)
            said.append(str(line.get("stream", "")).strip())
    except docker.errors.APIError as error:
        told = explain(error)
        if error.status_code in (404, 501) or "buildkit" in told.lower():
            raise _NoClassicBuilder(told) from error
        raise _refusal(source, reference, told, said) from error
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise BuildFailed(
            f"{source.name} was not built",
            f"the engine at {engine_address()} stopped answering ({explain(error)})",
            "Start it again, and run the command again.",
        ) from error


def has_buildx() -> bool:
    """Whether there is a docker command with the buildx plugin."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "buildx", "version"], capture_output=True).returncode == 0


def _build_with_buildx(
    context: IO[bytes],
    source: FunctionSource,
    platform: Platform,
    reference: str,
    labels: Mapping[str, str],
    tag: str,
) -> None:
    """Without attestations: with them the result is an index, which Lambda refuses.

    By the engine's own builder whatever is chosen otherwise: one in a container has no image of the engine.
    """
    command = [
        "docker",
        "buildx",
        "build",
        "--builder=default",
        "--provenance=false",
        "--sbom=false",
        "--load",
        "--network=none",
    ]
    command += ["--platform", f"linux/{platform.architecture.oci}", "--build-arg", f"BASE_IMAGE={reference}"]
    command += ["--progress=plain", "--file", DOCKERFILE, "--tag", tag]
    for name, value in sorted(labels.items()):
        command += ["--label", f"{name}={value}"]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("DOCKER_CONTEXT", "BUILDX_BUILDER")
    }
    environment |= {"DOCKER_HOST": engine_address(), "DOCKER_BUILDKIT": "1"}
    done = subprocess.run([*command, "-"], stdin=context, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        told, said = read_buildx(done.stderr)
        raise _refusal(source, reference, told or f"exit status {done.returncode}", said)


def read_buildx(output: str) -> tuple[str, list[str]]:
    """The error in what ``docker buildx build --progress=plain`` printed, and what led to it.

    The latter as the classic builder says it: "Step …", then the step's own output.
    """
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("ERROR: ")]
    told = (
        lines[errors[-1]].removeprefix("ERROR: ").removeprefix("failed to solve: ") if errors else "".join(lines[-1:])
    )
    said: list[str] = []
    # The Dockerfile's lines that failed are marked "  12 | >>> RUN …".
    marked = [line.partition(" | >>> ")[2].strip() for line in lines if " | >>> " in line]
    if marked:
        said.append(f"Step : {' '.join(line.removesuffix(chr(92)).strip() for line in marked)}")
    # Between rules, under "> [2/2] RUN …:", is its output, each line after the seconds.
    begin = next((number for number, line in enumerate(lines) if line.startswith(" > [")), len(lines))
    for line in lines[begin + 1 :]:
        if line.startswith("------"):
            break
        said.append(line.partition(" ")[2])
    return told, said


def _refusal(source: FunctionSource, reference: str, told: str, said: Sequence[str]) -> PipelineError:
    what, told = f"{source.name} was not built", " ".join(told.split())
    missing = ("pull access denied", "manifest unknown", "not found: manifest", "no such host", "connection refused")
    unreachable = ("no matching manifest", "dial tcp", "i/o timeout", "failed to resolve", "toomanyrequests")
    steps = [number for number, line in enumerate(said) if line.lower().startswith("step ")]
    last = said[steps[-1]] if steps else ""
    # What a program of the Dockerfile wrote before it failed; lines with arrows are the engine's own.
    wrote = [line for line in said[steps[-1] + 1 :] if line and not line.startswith("--->")] if steps else []
    if any(sign in told for sign in missing + unreachable) or (reference in told and " : FROM" in last):
        return BaseImageError(
            what,
            f"its base {reference} was not had by the engine ({told})",
            "Pull it where the engine has a network, or name another base with --base.",
        )
    return BuildFailed(
        what,
        f"the engine said: {told}"
        + (f" (at: {last})" if last else "")
        + (f"; before that: {' / '.join(wrote[-_LINES_SHOWN:])}" if wrote else ""),
        f"Mend {source.folder / DOCKERFILE}. It has no network, and copies {', '.join(CONTEXT_FOLDERS)} only.",
    )
