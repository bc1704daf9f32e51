"""A real container engine for the tests of this folder, and a base image made for it; both shared by all.

Without an engine the tests are skipped with the reason; with REQUIRE_EVERYTHING=1 they fail instead.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.assembly.check import check_image
from pipeline.assembly.model import CheckedImage, FunctionSource, Platform, PythonVersion
from pipeline.assembly.output import write_layout
from pipeline.assembly.sources import find_sources
from pipeline.core.errors import LocalError
from pipeline.core.files import cache_folder
from pipeline.engine.builder import DockerBuilder
from pipeline.engine.connection import connect_engine, engine_address
from pipeline.engine.export import read_image
from pipeline.local.host.control import local_session
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry
from pipeline.oci.registry.ecr import ecr_credentials
from pipeline.oci.values import Digest
from pipeline.release.push import push_image
from pipeline.target import host_architecture
from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import make_role

ROOT = Path(__file__).resolve().parents[2]
BASE = Path(__file__).parent / "base"
# The base is Debian 12's.
PYTHON = PythonVersion(3, 11)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test of this folder waits for the base image, minutes on a busy machine."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(900))


def missing(reason: str) -> None:
    """Skip, or fail where everything has to be there."""
    if os.environ.get("REQUIRE_EVERYTHING") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def engine() -> Any:
    try:
        return connect_engine("the container tests did not run", "`.ci/engine start DIR` starts one.")
    except LocalError as error:
        missing(error.why)


@pytest.fixture(scope="session")
def docker_host(engine: Any) -> str:
    return engine_address()


@pytest.fixture(scope="session")
def base_folder() -> Path:
    """Where the base image is kept, as making it takes a while: below LAMBDA_BASE_FOLDER."""
    files = sorted(path for path in BASE.iterdir() if path.is_file())
    version = Digest.of(b"".join(path.read_bytes() for path in files)).short
    return Path(os.environ.get("LAMBDA_BASE_FOLDER") or cache_folder() / "test-base") / version


@pytest.fixture(scope="session")
def base(engine: Any, docker_host: str, base_folder: Path) -> str:
    """The name of a base image in the engine."""
    if shutil.which("debootstrap") is None:
        missing("debootstrap is not installed, so no base image can be made")
    folder, name = base_folder, f"lambda-base:{base_folder.name}"
    if not engine.images(name=name):
        made = subprocess.run(
            [BASE / "make_base.sh", folder, name],
            env=os.environ | {"DOCKER_HOST": docker_host, "PYTHON": str(ROOT / ".venv" / "bin" / "python")},
            capture_output=True,
            text=True,
        )
        assert made.returncode == 0, made.stdout + made.stderr
    return name


@pytest.fixture(scope="session")
def platform() -> Platform:
    return Platform(host_architecture(), PYTHON)


@pytest.fixture(scope="session")
def store(base_folder: Path) -> BlobStore:
    """Kept with the base, whose layer is compressed once."""
    return BlobStore(base_folder / "store")


@pytest.fixture(scope="session")
def base_layout(
    engine: Any, base: str, store: BlobStore, platform: Platform, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The base as an OCI layout on disk."""
    work = tmp_path_factory.mktemp("work")
    image = read_image(engine, engine.inspect_image(base)["Id"], store, work, platform, None)
    folder = tmp_path_factory.mktemp("layout") / "base"
    write_layout([CheckedImage("base", image)], folder, store)
    return folder


HANDLER = """
import os, socket, sys, time, urllib.error, urllib.request
STARTED = time.time()
print("starting")

def can_connect(host, port):
    try:
        socket.create_connection((host, port), 0.5).close()
    except OSError as error:
        return str(error)
    return "connected"

def take_event(port):
    try:
        url = f"http://127.0.0.1:{port}/2018-06-01/runtime/invocation/next"
        return str(urllib.request.urlopen(url, timeout=2).status)
    except OSError as error:
        return str(error)

def handle(event, context):
    print("event", sorted(event))
    if "write" in event:
        open(event["write"], "w").write("x")
    if "sleep" in event:
        time.sleep(event["sleep"])
    if "raise" in event:
        raise ValueError(event["raise"])
    if "exit" in event:
        os._exit(event["exit"])
    if "allocate" in event:
        kept = bytearray(b"x" * (event["allocate"] << 20))
    answer = {
        "version": VERSION, "container": CONTAINER, "started": STARTED, "id": context.aws_request_id,
        "arn": context.invoked_function_arn, "left": context.get_remaining_time_in_millis(),
    }
    if "next" in event:
        own = int(os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")[2])
        answer["next"] = {port: take_event(port) for port in event["next"] if port != own}
    if "look" in event:
        try:
            urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"], timeout=5)
        except urllib.error.HTTPError as refused:  # without a signature
            answer["aws"] = refused.code
        answer |= {
            "user": [os.getuid(), os.getgid()], "environment": dict(os.environ), "cwd": os.getcwd(),
            "interfaces": [name for _, name in socket.if_nameindex()],
            "outside": [can_connect(*place) for place in event["look"]],
            "capabilities": [line for line in open("/proc/self/status") if line.startswith(("CapEff", "NoNewPrivs"))],
        }
    return answer

with open("/proc/sys/kernel/random/uuid") as file:
    CONTAINER = file.read().strip()
"""
DOCKERFILE = (ROOT / "images" / "fraud-detection" / "Dockerfile").read_text()


def write_function(folder: Path, handler: str, dockerfile: str = DOCKERFILE) -> FunctionSource:
    """A function's folder, read as a source. ``folder`` names the function."""
    folder.mkdir(parents=True)
    (folder / "function.toml").write_text('handler = "handler.handle"\n')
    (folder / "handler.py").write_text(handler)
    (folder / "Dockerfile").write_text(dockerfile)
    (source,) = find_sources(folder.parent)
    return source


@dataclass(frozen=True)
class Probe:
    """Images of the handler above, pushed to one emulated registry."""

    aws: EmbeddedAws
    base: str
    platform: Platform
    store: BlobStore
    folder: Path
    engine: Any

    def push(self, version: int, repository: str = "probe") -> str:
        """The URI of an image whose handler answers with ``version``."""
        folder = self.folder / f"{repository}-{version}" / repository
        source = write_function(folder, f"VERSION = {version}\n{HANDLER}")
        image = DockerBuilder(self.platform, self.store, engine=self.engine).build(source, self.base)
        ecr = self.aws.client("ecr")
        try:
            uri = ecr.create_repository(repositoryName=repository)["repository"]["repositoryUri"]
        except ecr.exceptions.RepositoryAlreadyExistsException:
            uri = ecr.describe_repositories(repositoryNames=[repository])["repositories"][0]["repositoryUri"]
        login = ecr_credentials(self.aws.client("ecr"))
        registry = Registry(uri.partition("/")[0], endpoint_url=self.aws.endpoint, credentials=login)
        return push_image(registry, uri, check_image(image, source, self.store), self.store).uri


@pytest.fixture(scope="session")
def container_aws(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """An embedded AWS whose functions run in containers; afterwards the engine has nothing of it."""
    folder = tmp_path_factory.mktemp("container aws")
    with local_session(folder, runtime="docker") as local:
        yield EmbeddedAws.of(local)
    assert containers_of(engine, folder) == []
    assert not [image for image in engine.images() if any(local.endpoint[7:] in tag for tag in _names(image))]


def _names(image: Any) -> list[str]:
    return [*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())]


@pytest.fixture(scope="session")
def probe(
    container_aws: EmbeddedAws,
    base: str,
    platform: Platform,
    store: BlobStore,
    tmp_path_factory: pytest.TempPathFactory,
    engine: Any,
) -> Probe:
    return Probe(container_aws, base, platform, store, tmp_path_factory.mktemp("probe"), engine)


@pytest.fixture(scope="session")
def image_uri(probe: Probe) -> str:
    return probe.push(1)


@pytest.fixture(scope="session")
def role(container_aws: EmbeddedAws) -> str:
    return make_role(container_aws, "probe")


def containers_of(engine: Any, folder: Path, role: str | None = None) -> list[dict[str, Any]]:
    """The containers of a local folder, running or not."""
    labels = [f"transaction-pipeline.local={folder / 'containers'}"]
    labels += [f"transaction-pipeline.local.role={role}"] if role else []
    found: list[dict[str, Any]] = json.loads(json.dumps(engine.containers(all=True, filters={"label": labels})))
    return found
