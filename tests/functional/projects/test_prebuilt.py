"""Functions whose images exist already, in a registry and in a layout: released, changed and taken back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from commands.context import Context
from commands.proving import prove_release
from pipeline.assembly.model import CheckedImage
from pipeline.assembly.prebuilt import parse_prebuilt
from pipeline.bases.prebuilt_images import fetch_prebuilt
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import Digest, ImageReference
from pipeline.release.push import push_image
from pipeline.target import host_platform_of_functions
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project
from tests.servers.debian_registry import DebianRegistry, debian_registry, needs

pytestmark = needs("docker-registry")
HANDLER = "def handle(event, context):\n    return {'says': 'SAID'}\n"


@dataclass(frozen=True)
class Published:
    """One image by its digest, in a registry and in a layout."""

    registry: str
    layout: Path

    @property
    def digest(self) -> str:
        return self.registry.partition("@")[2]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRegistry]:
    with debian_registry(tmp_path_factory.mktemp("origin")) as running:
        yield running


@pytest.fixture(scope="module")
def published(
    embedded_aws: EmbeddedAws, origin: DebianRegistry, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Published]:
    """Images that another project built."""
    other = Project(tmp_path_factory.mktemp("other"), embedded_aws)
    other.write("environments.toml", '[project]\nname = "other"\n')
    other.write("images/app/function.toml", 'handler = "handler.handle"\n')
    made = {}
    store = BlobStore(other.folder / "store")
    for said in ("one", "two"):
        other.write("images/app/handler.py", HANDLER.replace("SAID", said))
        layout = other.folder / said
        other.run("build", "--output", str(layout))
        image = fetch_prebuilt("app", parse_prebuilt(f"oci:{layout}", Path()), host_platform_of_functions(), store)
        with Registry(origin.host) as registry:
            pushed = push_image(registry, f"{origin.host}/team/app", CheckedImage("app", image), store, tag="latest")
        made[said] = Published(pushed.uri, layout)
    return made


@pytest.fixture(scope="module")
def project(
    embedded_aws: EmbeddedAws, published: dict[str, Published], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("prebuilt"), embedded_aws)
    project.write("environments.toml", '[project]\nname = "prebuilt"\n')
    project.write("images/copied/function.toml", f'image = "{published["one"].registry}"\n')
    project.write("images/copied/events/smoke.json", "{}")
    project.write("images/laid-out/function.toml", f'image = "oci:{published["two"].layout}"\n')
    yield project
    project.run("down", code=(0, 1))


def test_they_are_released_with_their_own_digests(project: Project, published: dict[str, Published]) -> None:
    released = project.json("up")
    digests = {each["name"]: each["digest"] for each in released["functions"]}
    assert digests == {
        "prebuilt-copied-dev": published["one"].digest,
        "prebuilt-laid-out-dev": published["two"].digest,
    }
    assert released["smoked"] == ["prebuilt-copied-dev"]
    assert project.invoke("copied", {}) == {"says": "one"}
    assert project.invoke("laid-out", {}) == {"says": "two"}


def test_nothing_changed_asks_the_origin_for_nothing(project: Project, origin: DebianRegistry) -> None:
    before = len(origin.requests)
    assert not project.json("up")["changed"]
    assert not project.json("plan")["changes"]
    assert len(origin.requests) == before


def test_every_file_of_it_is_listed(project: Project) -> None:
    (copied, _) = project.json("build", "--list")["functions"]
    assert {"path": "handler.py", "layer": "image"}.items() <= next(
        each.items() for each in copied["shipped"] if each["path"] == "handler.py"
    )
    assert copied["left_out"] == []


def test_another_image_is_planned_released_explained_and_taken_back(
    project: Project, published: dict[str, Published]
) -> None:
    project.write("images/copied/function.toml", f'image = "{published["two"].registry}"\n')
    plan = project.json("plan", code=2)
    (change,) = (each for each in plan["functions"] if each["name"] == "prebuilt-copied-dev")
    assert change["why"] == "1 file (handler.py)"
    project.run("up")
    assert project.invoke("copied", {}) == {"says": "two"}
    (why,) = (each for each in project.json("why-changed", "1", "2")["functions"] if each["function"] == "copied")
    assert why["summary"] == "1 file (handler.py)"
    assert project.json("rollback")["changed"]
    assert project.invoke("copied", {}) == {"says": "one"}


def test_a_tag_stops_before_anything_starts(
    project: Project, published: dict[str, Published], origin: DebianRegistry
) -> None:
    tagged = f"{origin.host}/team/app:latest"
    project.write("images/copied/function.toml", f'image = "{tagged}"\n')
    error = project.json("up", code=1)
    assert f"it names {tagged}@{published['two'].digest} now" in error["why"]
    assert project.json("releases")["releases"][0]["number"] == 3


def test_a_copy_is_signed_and_says_where_it_is_from(
    project: Project, published: dict[str, Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("images/copied/function.toml", f'image = "{published["two"].registry}"\n')
    key = project.folder / "signing.pem"
    make = f"openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out {key}"
    subprocess.run(
        ["bash", "-c", f"{make} && openssl pkey -in {key} -pubout -out {key.with_suffix('.pub')}"], check=True
    )
    keys = 'signing_key = "signing.pem"\nverification_key = "signing.pub"\nrequire_signature = true\n'
    project.write("environments.toml", f'[project]\nname = "prebuilt"\n[environments.dev]\n{keys}')
    released = {each["name"]: each["image"] for each in project.json("up")["functions"]}
    proven = project.json("verify", released["prebuilt-copied-dev"], "--rebuild")
    assert (proven["proven"], proven["rebuilt"]) == (True, published["two"].digest)
    definition = proven["provenance"]["buildDefinition"]
    assert definition["buildType"] == "urn:transaction-pipeline:copy:v1"
    (image, *_) = definition["resolvedDependencies"]
    reference = ImageReference.parse(published["two"].registry)
    assert image == {"name": "image", "uri": str(reference), "digest": {"sha256": published["two"].digest[7:]}}
    assert proven["bill_of_materials"] is None
    assert json.dumps(proven).count(str(project.folder)) == 0
    # As the console shows it, of any release: the first image was pushed before there was a key.
    for name, value in project.aws.variables.items():
        monkeypatch.setenv(name, value)
    context = Context(project=project.folder)
    for number, faults in (("two", ()), ("one", ("it has no signature", "it has no signed provenance"))):
        shown = prove_release(context, {"copied": Digest.parse(published[number].digest)})["copied"]
        assert shown.faults == faults
