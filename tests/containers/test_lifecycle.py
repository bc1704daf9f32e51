"""No process leaves anything behind when it is killed, and an engine that stops is reported."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline.assembly.model import Platform
from pipeline.core.errors import LocalError
from pipeline.engine.connection import connect_engine
from pipeline.local.containers.engine_images import EngineImages
from pipeline.local.host.control import find_local, local_session, start_local, stop_local
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import ImageReference
from tests.containers.conftest import BASE, ROOT, Probe, containers_of, missing
from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import Function, make_role


def gone(condition: Callable[[], Any], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def probe_of(base: str, platform: Platform, store: BlobStore, tmp_path: Path) -> Callable[[EmbeddedAws, Any], Probe]:
    return lambda aws, engine: Probe(aws, base, platform, store, tmp_path / "probe", engine)


def running_function(probe: Probe) -> Function:
    function = Function.create(probe.aws, "probe", probe.push(1), make_role(probe.aws, "probe"), Timeout=20)
    assert function.invoke().error is None
    return function


def test_containers_of_a_killed_run_end_and_are_removed_at_the_next_start(
    engine: Any, tmp_path: Path, probe_of: Callable[[EmbeddedAws, Any], Probe]
) -> None:
    folder = tmp_path / "local"
    first = start_local(folder, runtime="docker")
    try:
        running_function(probe_of(EmbeddedAws.of(first), engine))
        assert len(containers_of(engine, folder, "function")) == 1
        os.kill(first.pid, signal.SIGKILL)
        # They end by themselves, since their way to the Runtime API ended.
        assert gone(lambda: [each for each in containers_of(engine, folder) if each["State"] == "running"])
        assert gone(lambda: find_local(folder) is not None)
        second = start_local(folder, runtime="docker")
        assert containers_of(engine, folder, "gateway") == []
        function = Function(EmbeddedAws.of(second), "probe")
        assert function.invoke().error is None
    finally:
        assert stop_local(folder)
    assert containers_of(engine, folder) == []


@pytest.mark.any_engine
def test_down_after_a_crash_removes_what_is_left(
    engine: Any, tmp_path: Path, probe_of: Callable[[EmbeddedAws, Any], Probe]
) -> None:
    folder = tmp_path / "local"
    first = start_local(folder, runtime="docker")
    running_function(probe_of(EmbeddedAws.of(first), engine))
    os.kill(first.pid, signal.SIGKILL)
    assert gone(lambda: find_local(folder) is not None)
    assert stop_local(folder) is False
    assert containers_of(engine, folder) == []
    names = [name for image in engine.images() for name in image.get("RepoDigests") or ()]
    assert not [name for name in names if name.startswith(first.endpoint.removeprefix("http://"))]


@pytest.mark.any_engine
def test_one_runtime_at_a_time(engine: Any, tmp_path: Path) -> None:
    start_local(tmp_path / "local", runtime="docker")
    try:
        assert start_local(tmp_path / "local").runtime == "docker"
        with pytest.raises(LocalError, match="is already running with the docker runtime"):
            start_local(tmp_path / "local", runtime="process")
    finally:
        stop_local(tmp_path / "local")


@pytest.mark.any_engine
def test_no_engine_offers_the_process_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(LocalError) as refused:
        start_local(tmp_path / "local", runtime="docker")
    assert "no container engine answers" in refused.value.why
    assert "omit --runtime docker" in str(refused.value.next_step)
    assert find_local(tmp_path / "local") is None


class CannotPull:
    """An engine that does not get on with the emulated registry, as one that asks it for TLS."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def pull(self, *_arguments: Any, **_more: Any) -> Iterator[dict[str, str]]:
        yield {"error": "Get https://…/v2/: http: server gave HTTP response to HTTPS client"}


def test_an_image_that_the_engine_cannot_pull_is_loaded(probe: Probe, engine: Any, tmp_path: Path) -> None:
    image_uri = probe.push(7, "loaded")
    images = EngineImages(CannotPull(engine), tmp_path, probe.aws.endpoint, probe.aws.token)
    engine.remove_image("transaction-pipeline/loaded:latest", force=True)
    try:
        image = images.ensure(ImageReference.parse(image_uri))
        assert image.name.startswith("transaction-pipeline.local/")
        assert image.command == ("handler.handle",)
        assert engine.inspect_image(image.name)["Config"]["Labels"]["org.opencontainers.image.title"] == "loaded"
    finally:
        images.remove_all()
    assert not engine.images(name=image.name)


@pytest.fixture
def own_engine(base_folder: Path, base: str, tmp_path: Path) -> Iterator[Path]:
    """A folder for an engine that a test may stop. It leaves the address tables to the engine of the other tests."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        missing("an engine of its own needs root and Docker's dockerd")
    folder = Path("/tmp") / f"own-engine-{os.getpid()}"
    folder.mkdir()
    yield folder
    subprocess.run([ROOT / ".ci" / "engine", "stop", folder], check=True)
    shutil.rmtree(folder, ignore_errors=True)


def test_an_engine_that_is_stopped_in_the_middle_is_a_service_error(
    own_engine: Path,
    base: str,
    base_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    probe_of: Callable[[EmbeddedAws, Any], Probe],
) -> None:
    def start() -> Any:
        done = subprocess.run(
            [ROOT / ".ci" / "engine", "start", own_engine],
            env=os.environ | {"DOCKERD_OPTIONS": "--iptables=false"},
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        monkeypatch.setenv("DOCKER_HOST", done.stdout.strip())
        return connect_engine("", "")

    engine = start()
    subprocess.run([BASE / "make_base.sh", base_folder, base], check=True, stdout=subprocess.DEVNULL)
    with local_session(tmp_path / "local", runtime="docker") as local:
        probe = probe_of(EmbeddedAws.of(local), engine)
        function = running_function(probe)
        with ThreadPoolExecutor() as threads:
            running = threads.submit(function.invoke, {"sleep": 15})
            time.sleep(0.5)
            subprocess.run([ROOT / ".ci" / "engine", "halt", own_engine], check=True)
            with pytest.raises(ClientError) as refused:
                running.result()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
        with pytest.raises(ClientError, match="engine"):
            function.invoke()
        start()
        assert function.invoke().error is None
