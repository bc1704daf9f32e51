"""OCI layouts on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.assembly.output import write_layout
from pipeline.core.errors import SourceError
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import read_layout
from pipeline.oci.values import OCI_MANIFEST
from tests.servers.images import SBOM, make_image, make_layer, make_sbom, pair


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_layout_holds_every_image_by_its_function(tmp_path: Path, store: BlobStore) -> None:
    images = pair(store)
    write_layout(images, tmp_path / "out", store)
    layout = read_layout(tmp_path / "out")
    assert [(entry.name, entry.architecture, entry.descriptor.digest) for entry in layout.entries] == sorted(
        (image.function, "arm64", image.image.digest) for image in images
    )
    assert layout.manifest(images[0].image.digest).content == images[0].image.manifest
    assert json.loads((tmp_path / "out" / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    # Two configs, two manifests, one shared layer, two own.
    assert len(list((tmp_path / "out" / "blobs" / "sha256").iterdir())) == 7


def test_same_images_give_the_same_files(tmp_path: Path, store: BlobStore) -> None:
    images = pair(store)
    write_layout(images, tmp_path / "one", store)
    previous = os.umask(0o077)
    try:
        write_layout(images[::-1], tmp_path / "two", store)
    finally:
        os.umask(previous)
    write_layout(images, tmp_path / "two", store)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "two").rglob("*") if path.is_file()}
    assert modes == {0o644}


def test_layout_is_replaced_and_leftovers_go(tmp_path: Path, store: BlobStore) -> None:
    first, second = pair(store)
    write_layout([first], tmp_path / "out", store)
    write_layout([second], tmp_path / "out", store)
    fresh = tmp_path / "fresh"
    write_layout([second], fresh, store)
    assert files(tmp_path / "out") == files(fresh)


def test_folder_that_holds_something_else_is_left_alone(tmp_path: Path, store: BlobStore) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SourceError, match="it holds files other than an OCI layout"):
        write_layout(pair(store), tmp_path, store)
    assert files(tmp_path).keys() >= {"thesis.txt"}
    assert not (tmp_path / "index.json").exists()


def test_file_in_the_way_is_told(tmp_path: Path, store: BlobStore) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(SourceError, match="it holds files other"):
        write_layout(pair(store), tmp_path / "out", store)


def test_missing_layer_leaves_the_old_layout(tmp_path: Path, store: BlobStore) -> None:
    images = pair(store)
    write_layout(images, tmp_path / "out", store)
    before = files(tmp_path / "out")
    elsewhere = BlobStore(tmp_path / "elsewhere")
    broken = make_image("broken", [make_layer({"x": b"1"}, elsewhere)])
    with pytest.raises(SourceError, match=r"broken was not written: its blob sha256:\w+ is not in the cache"):
        write_layout([broken], tmp_path / "out", store)
    assert files(tmp_path / "out") == before


def test_damaged_cache_is_told(tmp_path: Path, store: BlobStore) -> None:
    image = pair(store)[0]
    path = store.path(image.image.layers[0].descriptor.digest)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(SourceError, match="the cache was damaged"):
        write_layout([image], tmp_path / "out", store)
    assert not path.exists()
    assert not (tmp_path / "out" / "index.json").exists()


def test_blob_of_a_layout_that_lost_its_content_is_written_again(tmp_path: Path, store: BlobStore) -> None:
    images = pair(store)
    write_layout(images, tmp_path / "out", store)
    before = files(tmp_path / "out")
    (tmp_path / "out" / "blobs" / "sha256" / images[0].image.layers[0].descriptor.digest.hex).write_bytes(b"")
    write_layout(images, tmp_path / "out", store)
    assert files(tmp_path / "out") == before


def test_artifacts_are_listed_after_the_images(tmp_path: Path, store: BlobStore) -> None:
    image = pair(store)[0]
    sbom = make_sbom(image, store)
    write_layout([image], tmp_path / "out", store, artifacts={image.function: (sbom,)})
    entries = json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]
    assert [(entry["mediaType"], entry.get("artifactType")) for entry in entries] == [
        (OCI_MANIFEST, None),
        (OCI_MANIFEST, SBOM),
    ]
    assert read_layout(tmp_path / "out").manifest(sbom.manifest.digest) == sbom.manifest
