"""The functions of this project from their folders to images that other people's tools take."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cfn.settings import Architecture, FunctionDefinition
from pipeline.assembly.build import build_image
from pipeline.assembly.check import check_image
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.image import assemble, empty_base
from pipeline.assembly.model import CheckedImage, FunctionSource, Platform, PythonVersion
from pipeline.assembly.output import write_layout
from pipeline.assembly.sbom import CYCLONEDX, sbom_referrer
from pipeline.assembly.sources import find_sources
from pipeline.bases.inspection import inspect_images
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import Layer

IMAGES = Path(__file__).resolve().parents[3] / "images"
TARGETS = [Platform(architecture, PythonVersion(3, minor)) for architecture in Architecture for minor in (12, 13, 14)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> BlobStore:
    return BlobStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def sources() -> tuple[FunctionSource, ...]:
    return find_sources(IMAGES)


def _build(sources: tuple[FunctionSource, ...], platform: Platform, store: BlobStore) -> list[CheckedImage]:
    slim, base = Slim.for_sources(sources), empty_base(platform)
    return [check_image(build_image(each, platform, base, store, slim=slim), each, store) for each in sources]


@pytest.mark.parametrize("platform", TARGETS, ids=str)
def test_every_function_has_an_image_for_every_target(
    sources: tuple[FunctionSource, ...], store: BlobStore, platform: Platform
) -> None:
    for checked in _build(sources, platform, store):
        layers = checked.image.layers
        assert [layer.title for layer in layers] == ["runtime", "dependencies", "shared", "function"]
        # One changed line sends one of these, a config and a manifest: less than 20 kB together.
        assert max(layer.descriptor.size for layer in layers[2:]) < 15_000


def test_functions_of_one_lock_share_all_layers_but_their_own(
    sources: tuple[FunctionSource, ...], store: BlobStore
) -> None:
    images = [checked.image for checked in _build(sources, TARGETS[0], store)]
    shared: dict[bytes, set[tuple[Layer, ...]]] = {}
    for source, image in zip(sources, images, strict=True):
        lock = source.requirements.read_bytes() if source.requirements is not None else b""
        shared.setdefault(lock, set()).add(image.layers[:3])
    assert [len(layers) for layers in shared.values()] == [1] * len(shared)
    assert len(shared) < len(images)
    assert len({(image.layers[0], image.layers[2]) for image in images}) == 1
    assert len({image.digest for image in images}) == len(images)


def test_no_secret_cache_or_test_is_in_an_image(
    sources: tuple[FunctionSource, ...], store: BlobStore, tmp_path: Path
) -> None:
    copy = shutil.copytree(IMAGES, tmp_path / "images", ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    before = [checked.image.digest for checked in _build(find_sources(copy), TARGETS[0], store)]
    for folder in copy.iterdir():
        for name in (".env", "key.pem", "__pycache__/x.cpython-313.pyc", "tests/test_x.py", ".git/HEAD"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("secret")
    assert [checked.image.digest for checked in _build(find_sources(copy), TARGETS[0], store)] == before


def test_the_sbom_names_what_is_locked_for_the_target(sources: tuple[FunctionSource, ...], store: BlobStore) -> None:
    checked = _build(sources, TARGETS[0], store)[0]
    artifact = sbom_referrer(checked.image, sources[0], store)
    manifest = json.loads(artifact.manifest.content)
    assert manifest["subject"]["digest"] == str(checked.image.digest)
    assert manifest["artifactType"] == CYCLONEDX
    assert all(store.has(blob.digest) for blob in artifact.blobs)
    document = json.loads(store.read(artifact.blobs[1].digest))
    assert document["metadata"]["component"]["name"] == sources[0].name
    components = {each["name"]: each for each in document["components"]}
    assert {"aws-lambda-powertools", "awslambdaric", "simplejson"} <= components.keys()
    powertools = components["aws-lambda-powertools"]
    assert powertools["purl"] == f"pkg:pypi/aws-lambda-powertools@{powertools['version']}"
    assert len(powertools["externalReferences"][0]["hashes"][0]["content"]) == 64


def test_no_secret_of_a_url_is_in_the_sbom(store: BlobStore, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    url = "https://robot:Pass-Word@files.example/idna-3.10-py3-none-any.whl?X-Amz-Signature=Signed#subdirectory=x"
    (folder / "requirements.txt").write_text(f"idna @ {url} --hash=sha256:{'a' * 64}\n")
    source = FunctionSource(FunctionDefinition("f"), folder, "handler.handle", folder / "requirements.txt")
    image = assemble(empty_base(TARGETS[0]), (), source=source, platform=TARGETS[0])
    document = store.read(sbom_referrer(image, source, store).blobs[1].digest).decode()
    assert "https://files.example/idna-3.10-py3-none-any.whl#subdirectory=x" in document
    assert not any(secret in document for secret in ("robot", "Pass-Word", "Signed"))


def test_the_sbom_of_an_image_is_always_the_same(sources: tuple[FunctionSource, ...], tmp_path: Path) -> None:
    artifacts = []
    for name in ("one", "two"):
        store = BlobStore(tmp_path / name)
        checked = _build(sources[:1], TARGETS[0], store)[0]
        artifacts += [sbom_referrer(checked.image, sources[0], store) for _ in range(2)]
    assert len(set(artifacts)) == 1


def test_a_changed_line_leaves_the_sbom_as_it_is(store: BlobStore, tmp_path: Path) -> None:
    """Only the small manifest that names the image as its subject is another one."""
    copy = tmp_path / "images"
    shutil.copytree(IMAGES, copy)
    made = []
    for line in ("", "\n# one more line\n"):
        handler = copy / "fraud-detection" / "handler.py"
        handler.write_text(handler.read_text() + line)
        (source,) = (each for each in find_sources(copy) if each.name == "fraud-detection")
        (checked,) = _build((source,), TARGETS[0], store)
        made.append((checked.image.digest, sbom_referrer(checked.image, source, store)))
    (before, first), (after, second) = made
    assert before != after
    assert first.blobs == second.blobs
    assert json.loads(second.manifest.content)["subject"]["digest"] == str(after)
    assert len(second.manifest.content) < 2_000


@pytest.fixture
def layout(sources: tuple[FunctionSource, ...], store: BlobStore, tmp_path: Path) -> Path:
    write_layout(_build(sources, TARGETS[1], store), tmp_path / "layout", store)
    return tmp_path / "layout"


def test_the_check_of_any_image_takes_them(layout: Path) -> None:
    assert [inspected.findings for inspected in inspect_images(f"oci:{layout}")] == [(), (), ()]


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_takes_them(layout: Path, sources: tuple[FunctionSource, ...], tmp_path: Path) -> None:
    for source in sources:
        done = subprocess.run(
            ["skopeo", "copy", f"oci:{layout}:{source.name}", f"dir:{tmp_path / source.name}"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed")
def test_umoci_unpacks_them_to_the_same_files(
    layout: Path, sources: tuple[FunctionSource, ...], tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    command = ["umoci", "unpack", *rootless, "--image", f"{layout}:{sources[0].name}", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    task = bundle / "rootfs" / "var" / "task"
    assert (task / "handler.py").read_bytes() == (sources[0].folder / "handler.py").read_bytes()
    assert (task / "awslambdaric" / "__main__.py").is_file()
    assert not (task / "function.toml").exists()
