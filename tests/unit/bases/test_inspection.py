"""Images of other tools, checked against Lambda's rules; what cannot be checked is reported."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands.context import Context
from commands.offline import check
from pipeline.assembly.model import CheckedImage
from pipeline.assembly.output import write_layout
from pipeline.bases.inspection import inspect_images
from pipeline.core.errors import BaseImageError, CheckFailed, PipelineError, StorageError
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import NAME
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import OCI_MANIFEST, Digest
from tests.servers.images import pair


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """A layout with two images, which a test may spoil."""
    store = BlobStore(tmp_path / "store")
    images: list[CheckedImage] = pair(store)
    write_layout(images, tmp_path / "out", store)
    return tmp_path / "out"


def only(layout: Path, manifest: bytes, **entry: Any) -> None:
    """Make ``manifest`` the only thing that a layout holds."""
    digest = Digest.of(manifest)
    (layout / "blobs" / "sha256" / digest.hex).write_bytes(manifest)
    listed = {"mediaType": OCI_MANIFEST, "digest": str(digest), "size": len(manifest), **entry}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))


def names(layout: Path) -> list[str]:
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    return [entry["annotations"][NAME] for entry in entries]


def test_every_image_of_a_layout_is_judged(layout: Path) -> None:
    assert [each.name for each in inspect_images(f"oci:{layout}")] == [f"oci:{layout} {name}" for name in names(layout)]


def test_one_image_of_a_layout_is_judged_by_its_name(layout: Path) -> None:
    name = names(layout)[1]
    assert [each.name for each in inspect_images(f"oci:{layout}:{name}")] == [f"oci:{layout} {name}"]


def test_a_folder_with_a_colon_is_a_folder(layout: Path) -> None:
    moved = layout.rename(layout.with_name("a:b"))
    assert len(inspect_images(f"oci:{moved}")) == 2


def test_a_name_that_a_layout_does_not_hold_is_told_with_those_that_it_does(layout: Path) -> None:
    with pytest.raises(BaseImageError, match=", ".join(names(layout))):
        inspect_images(f"oci:{layout}:other")


def test_an_image_that_cannot_be_read_keeps_no_other_from_being_judged(layout: Path, tmp_path: Path) -> None:
    told = check(Context(), images=[f"oci:{tmp_path / 'nothing'}", f"oci:{layout}"])
    assert told.exit_code == 1
    missing, *others = told.result["images"]
    assert set(missing["error"]) == {"what", "why", "next_step", "commands"}
    assert [each["accepted"] for each in [missing, *others]] == [False, True, True]
    assert told.text.startswith(f"oci:{tmp_path / 'nothing'}  not checked\n  ")
    with pytest.raises(BaseImageError):  # alone it is the command's own failure
        check(Context(), images=[f"oci:{tmp_path / 'nothing'}"])


@pytest.mark.parametrize("manifests", ["[]", "artifact"])
def test_a_layout_without_an_image_is_no_success(layout: Path, manifests: str) -> None:
    if manifests == "artifact":
        only(layout, json.dumps({"artifactType": "application/vnd.example", "layers": []}).encode())
    else:
        (layout / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    with pytest.raises(BaseImageError, match="the layout holds no image"):
        inspect_images(f"oci:{layout}")


def _without_layers(value: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": value}).encode()


@pytest.mark.parametrize("layers", [None, 5, "abc", {}])
def test_layers_that_are_no_list_are_a_finding(layout: Path, layers: object) -> None:
    only(layout, _without_layers(layers))
    (inspected,) = inspect_images(f"oci:{layout}")
    assert "layer-count" in {finding.rule for finding in inspected.findings}


@pytest.mark.parametrize(
    "manifest",
    [b"[" * 100_000, b"[]", _without_layers([None]), b'{"config":null}',
     b'{"config":{"mediaType":"x","size":99999999999,"digest":"sha256:' + b"0" * 64 + b'"}}'],
)  # fmt: skip
def test_a_manifest_that_is_none_is_told(layout: Path, manifest: bytes) -> None:
    only(layout, manifest)
    with pytest.raises(CheckFailed, match="its manifest is broken"):
        inspect_images(f"oci:{layout}")


def _spoil_index(layout: Path) -> None:
    (layout / "index.json").write_bytes(b"[" * 100_000)


def _spoil_version(layout: Path) -> None:
    (layout / "oci-layout").write_bytes(b"[" * 100_000)


@pytest.mark.parametrize("spoil", [_spoil_index, _spoil_version])
def test_a_layout_that_is_none_is_told(layout: Path, spoil: Callable[[Path], None]) -> None:
    spoil(layout)
    with pytest.raises(BaseImageError, match="no readable oci-layout"):
        inspect_images(f"oci:{layout}")


def test_a_name_that_would_steer_a_terminal_is_quoted(layout: Path) -> None:
    content = (layout / "index.json").read_text().replace(f'"{names(layout)[0]}"', json.dumps("a\x1b[2J\nb accepted"))
    (layout / "index.json").write_text(content)
    assert all(each.name.isprintable() for each in inspect_images(f"oci:{layout}"))


@pytest.mark.parametrize("text", ["docker-archive:image.tar:name", "oci-archive:image.tar", "dir:image", "image.tar"])
def test_an_image_that_is_elsewhere_is_not_asked_for_in_a_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.tar").touch()
    with pytest.raises(BaseImageError, match="neither in a registry nor an OCI layout") as caught:
        inspect_images(text, open_registry=lambda host: pytest.fail(f"asked {host}"))
    assert "skopeo copy" in str(caught.value.next_step)


def test_a_reference_may_be_written_as_skopeo_takes_it() -> None:
    class Asked(Exception):
        pass

    def ask(host: str) -> Registry:
        raise Asked(host)

    with pytest.raises(Asked, match=re.escape("registry.example:5000")):
        inspect_images("docker://registry.example:5000/app:1", open_registry=ask)


@pytest.mark.parametrize("text", ["x" * 5000, "a\x1b[2J", "UPPER", "", "registry.example/a b"])
def test_a_text_that_names_no_image_is_told(text: str) -> None:
    with pytest.raises(PipelineError, match="was not checked"):
        inspect_images(text)


def test_a_cache_that_cannot_be_written_is_told(layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSACTION_PIPELINE_CACHE", str(tmp_path))
    (tmp_path / "work").touch()
    with pytest.raises(StorageError, match="work could not be written"):
        inspect_images(f"oci:{layout}")

    def refuse(*_arguments: object, **_settings: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "work").unlink()
    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(StorageError, match="permission denied"):
        inspect_images(f"oci:{layout}")
