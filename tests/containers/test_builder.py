"""The Docker builder gives what the daemonless builder gives, and says what an engine did not do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from pipeline.assembly.build import build_image
from pipeline.assembly.check import check_image
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.model import Base, FunctionSource, Image, Platform
from pipeline.assembly.sources import find_sources
from pipeline.bases.choose import choose_base
from pipeline.core.errors import BaseImageError, LocalError, SourceError
from pipeline.engine.build_output import BuildFailed
from pipeline.engine.builder import DockerBuilder
from pipeline.engine.connection import connect_engine
from pipeline.engine.run_build import has_buildx
from pipeline.local.containers.container_backend import open_engine
from pipeline.oci.blobs import BlobStore
from tests.containers.conftest import DOCKERFILE, ROOT, write_function

SOURCES = find_sources(ROOT / "images")
SLIM = Slim.for_sources(SOURCES)
PLAIN = "def handle(event, context):\n    return event\n"


@pytest.fixture(params=["classic", "buildx"] if has_buildx() else ["classic"])
def build(
    request: pytest.FixtureRequest, engine: Any, docker_host: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Image]:
    """Build a Dockerfile in each way there is: buildx, with its BuildKit, only where the docker command has it."""
    monkeypatch.setenv("DOCKER_HOST", docker_host)

    def build(source: FunctionSource, platform: Platform, base: Base | str, store: BlobStore, **more: Any) -> Image:
        builder = DockerBuilder(platform, store, engine=engine, buildx=request.param == "buildx", **more)
        return builder.build(source, base)

    return build


def tree_in_engine(engine: Any, name: str) -> dict[str, tuple[int, bytes]]:
    """Every file below /var/task of an image as the engine itself has it: mode and content."""
    container = engine.create_container(name)["Id"]
    try:
        blocks, _ = engine.get_archive(container, "/var/task")
        return files_of(io.BytesIO(b"".join(blocks)), "")
    finally:
        engine.remove_container(container)


def tree_of(image: Image, store: BlobStore, above: int) -> dict[str, tuple[int, bytes]]:
    """The same of an image's own layers, those above the base's."""
    found: dict[str, tuple[int, bytes]] = {}
    for layer in image.layers[above:]:
        with store.open(layer.descriptor.digest) as stream:
            found |= files_of(stream, "var/")
    return found


def files_of(stream: Any, prefix: str) -> dict[str, tuple[int, bytes]]:
    with tarfile.open(fileobj=stream) as archive:
        return {
            member.name.removeprefix(prefix): (member.mode & 0o777, archive.extractfile(member).read())  # type: ignore[union-attr]
            for member in archive
            if member.isfile()
        }


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_both_builders_ship_the_same_files_and_run_them_the_same_way(
    source: FunctionSource,
    build: Callable[..., Image],
    engine: Any,
    base: str,
    base_layout: Path,
    platform: Platform,
    store: BlobStore,
) -> None:
    by_engine = build(source, platform, base, store, slim=SLIM)
    own_base = choose_base(f"oci:{base_layout}", platform, store)
    daemonless = build_image(source, platform, own_base, store, slim=SLIM)
    check_image(by_engine, source, store)
    expected = tree_of(daemonless, store, len(own_base.layers))
    assert tree_of(by_engine, store, len(own_base.layers)) == expected
    assert tree_in_engine(engine, f"transaction-pipeline/{source.name}:latest") == {
        name.removeprefix("./"): about for name, about in expected.items()
    }
    configs = [json.loads(image.config) for image in (by_engine, daemonless)]
    for key in ("Cmd", "Entrypoint", "Env", "WorkingDir", "Labels", "User"):
        assert configs[0]["config"].get(key) == configs[1]["config"].get(key), key
    assert [config["architecture"] for config in configs] == [platform.architecture.oci] * 2
    assert [layer.diff_id for layer in by_engine.layers] == [layer.diff_id for layer in daemonless.layers]


def test_a_base_that_only_the_engine_has(
    build: Callable[..., Image], base: str, base_layout: Path, platform: Platform, store: BlobStore, tmp_path: Path
) -> None:
    source, own = write_function(tmp_path / "on-engine", PLAIN), BlobStore(tmp_path / "own")
    found = choose_base(f"docker-daemon:{base}", platform, own)
    assert found.layers == choose_base(f"oci:{base_layout}", platform, store).layers
    assert all(own.has(layer.descriptor.digest) for layer in found.layers)
    images = [build_image(source, platform, found, own), build(source, platform, found, own)]
    for image in images:
        check_image(image, source, own)
    assert [layer.diff_id for layer in images[0].layers] == [layer.diff_id for layer in images[1].layers]
    # Known by its id from now on: nothing is read out of the engine again.
    for layer in found.layers:
        os.utime(own.path(layer.descriptor.digest), (1, 1))
    assert choose_base(f"docker-daemon:{base}", platform, own) == found
    assert {own.path(layer.descriptor.digest).stat().st_mtime for layer in found.layers} == {1}


@pytest.mark.parametrize("name", ["no-such-image:1", "Not A Name", ""])
def test_a_base_that_the_engine_has_not_is_told(engine: Any, docker_host: str, platform: Platform, store: BlobStore,
                                                name: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    with pytest.raises(BaseImageError, match=r"not read from the engine: the engine at .* has no image"):
        choose_base(f"docker-daemon:{name}", platform, store)


def test_the_same_sources_give_the_same_digest_without_the_engines_cache(
    build: Callable[..., Image], engine: Any, base: str, platform: Platform, store: BlobStore, tmp_path: Path
) -> None:
    first = build(write_function(tmp_path / "a" / "plain", PLAIN), platform, base, store)
    engine.remove_image("transaction-pipeline/plain:latest", force=True)
    with contextlib.suppress(docker.errors.NotFound):  # Podman keeps no cache beside its images
        engine.prune_builds()
    source = write_function(tmp_path / "b" / "plain", PLAIN)
    os.utime(source.folder / "handler.py", (1, 1))
    os.utime(source.folder, (1, 1))
    again = build(source, platform, base, store)
    assert again.digest == first.digest
    assert DockerBuilder(platform, store, engine=engine, buildx=False).build(source, base).digest == first.digest


def test_a_base_of_a_layout_is_loaded_into_the_engine(
    build: Callable[..., Image], base_layout: Path, platform: Platform, store: BlobStore, tmp_path: Path
) -> None:
    own_base = choose_base(f"oci:{base_layout}", platform, store)
    source = write_function(tmp_path / "loaded", PLAIN)
    image = build(source, platform, own_base, store)
    assert image.layers[: len(own_base.layers)] == own_base.layers
    assert check_image(image, source, store).function == "loaded"


def test_what_a_dockerfile_makes_beyond_plain_files_is_kept_as_it_is(
    build: Callable[..., Image], base: str, platform: Platform, store: BlobStore, tmp_path: Path
) -> None:
    special = DOCKERFILE.replace("COPY function/ /var/task/", "COPY --chown=7:8 function/ /var/task/")
    source = write_function(tmp_path / "special", PLAIN, special)
    image = build(source, platform, base, store)
    with store.open(image.layers[-1].descriptor.digest) as stream, tarfile.open(fileobj=stream) as archive:
        assert (archive.getmember("var/task/handler.py").uid, archive.getmember("var/task/handler.py").gid) == (7, 8)
    check_image(image, source, store)


def test_a_dockerfile_that_fails_is_explained(
    build: Callable[..., Image], base: str, platform: Platform, store: BlobStore, tmp_path: Path
) -> None:
    source = write_function(tmp_path / "broken", PLAIN, DOCKERFILE + "COPY missing/ /var/task/\n")
    with pytest.raises(BuildFailed) as refused:
        build(source, platform, base, store)
    assert "broken was not built" in refused.value.what
    assert "missing" in refused.value.why
    assert "COPY missing/ /var/task/" in refused.value.why


def test_a_build_has_no_network(
    build: Callable[..., Image], base: str, platform: Platform, store: BlobStore, tmp_path: Path
) -> None:
    connect = 'RUN python3 -c "import socket; print(socket.if_nameindex()); assert len(socket.if_nameindex()) > 1"\n'
    source = write_function(tmp_path / "network", PLAIN, DOCKERFILE + connect)
    with pytest.raises(
        BuildFailed, match=r"returned a non-zero code|did not complete successfully|exit status 1"
    ) as refused:
        build(source, platform, base, store)
    # The output of the command is reported too.
    assert "[(1, 'lo')" in refused.value.why
    assert "AssertionError" in refused.value.why


def test_a_function_without_a_dockerfile_is_explained(
    build: Callable[..., Image], base: str, platform: Platform, store: BlobStore, tmp_path: Path
) -> None:
    source = write_function(tmp_path / "bare", PLAIN)
    (source.folder / "Dockerfile").unlink()
    with pytest.raises(SourceError, match="Copy the Dockerfile of another function"):
        build(source, platform, base, store)


def test_a_base_that_the_engine_cannot_have_is_explained(
    build: Callable[..., Image], platform: Platform, store: BlobStore, tmp_path: Path
) -> None:
    source = write_function(tmp_path / "baseless", PLAIN)
    with pytest.raises(BaseImageError, match=r"could not get its base 127\.0\.0\.1:9/base:none"):
        build(source, platform, "127.0.0.1:9/base:none", store)


def test_buildx_is_asked_for_one_image_without_attestations(
    engine: Any,
    docker_host: str,
    base: str,
    platform: Platform,
    store: BlobStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the plugin, a program in the place of docker builds what it is asked to, classically."""
    real = shutil.which("docker")
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/asked\nshift 2\n'
        'for each; do shift; case "$each" in --builder=*|--provenance=*|--sbom=*|--load|--progress=*) ;; '
        f'*) set -- "$@" "$each" ;; esac; done\nDOCKER_BUILDKIT=0 exec {real} build "$@"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    source = write_function(tmp_path / "f" / "kit", PLAIN)
    classic = DockerBuilder(platform, store, engine=engine, buildx=False).build(source, base)
    assert DockerBuilder(platform, store, engine=engine, buildx=True).build(source, base).digest == classic.digest
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[:2] == ["buildx", "build"]
    assert {"--provenance=false", "--sbom=false", "--load"} <= set(asked)


@pytest.mark.parametrize("address", ["unix:///no/such/engine.sock", "tcp://127.0.0.1:9"])
def test_no_engine_is_explained(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(LocalError) as refused:
        connect_engine("nothing was built", "Leave out --builder docker.")
    assert f"no container engine answers at {address}" in refused.value.why
    assert refused.value.next_step.text.endswith("Leave out --builder docker.")


def test_an_engine_of_another_machine_cannot_run_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    with pytest.raises(LocalError, match="is reached over a network"):
        open_engine()
