"""Templates stored beside images, also those of another tool."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.core.errors import ReleaseError
from pipeline.ledger.kept_templates import find_template, keeper_of, read_template, template_referrer
from pipeline.ledger.releases import template_digest
from pipeline.ledger.stored_images import StoredImage
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import OCI_MANIFEST, Digest
from pipeline.release.push import push_image
from tests.servers.images import pair
from tests.servers.registry import LoopbackRegistry

BODY = json.dumps({"Description": "a template", "Resources": {}})


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


def stored(digest: Digest, subject: Digest, template: Digest | None) -> StoredImage:
    return StoredImage("app", digest, (), 1, datetime.now(UTC), subject, template=template)


def test_a_template_is_pushed_with_an_image_and_read_back(store: BlobStore, tmp_path: Path) -> None:
    with LoopbackRegistry() as server, Registry(server.host) as registry:
        image = pair(store)[0]
        referrer = template_referrer(image.image, BODY, store)
        push_image(registry, f"{server.host}/app", image, store, artifacts=(referrer,))
        kept = stored(referrer.manifest.digest, image.image.digest, template_digest(BODY))
        assert read_template(registry, kept, BlobStore(tmp_path / "another machine")) == BODY


def test_the_template_of_a_release_is_found_by_its_first_image_and_its_digest() -> None:
    one, two, template, other = (Digest.of(text) for text in (b"1", b"2", b"t", b"o"))
    images = {"b": two, "a": one}
    assert keeper_of(images) == "a"
    right = stored(Digest.of(b"x"), one, template)
    elsewhere = stored(Digest.of(b"z"), two, template)
    others = [stored(Digest.of(b"y"), one, other), stored(two, one, None)]
    assert find_template([*others, elsewhere, right], images, template) == right
    # The same template, kept with another release.
    assert find_template([*others, elsewhere], images, template) == elsewhere
    assert find_template(others, images, template) is None


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        ({}, "layers"),
        ({"layers": []}, "not enough values"),
        ({"layers": [{"mediaType": "x", "digest": "sha256:no", "size": 2}]}, "digest"),
        ({"layers": [{"mediaType": "x", "digest": str(Digest.of(b"x")), "size": 10**9}]}, "1,000,000,000 bytes"),
        ({"layers": [{"mediaType": "x", "digest": str(Digest.of(b"{}")), "size": 2}]}, "another template"),
        ({"layers": [{"mediaType": "x", "digest": str(Digest.of(b"\xff")), "size": 1}]}, "utf-8"),
    ],
    ids=["none", "empty", "digest", "large", "other", "text"],
)
def test_what_is_no_template_is_refused(store: BlobStore, manifest: dict[str, object], why: str) -> None:
    with LoopbackRegistry() as server, Registry(server.host) as registry:
        image = pair(store)[0]
        push_image(registry, f"{server.host}/app", image, store)
        for blob in (b"{}", b"\xff"):
            server.repositories["app"].blobs[str(Digest.of(blob))] = blob
        content = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, **manifest}).encode()
        server.repositories["app"].manifests[str(Digest.of(content))] = (content, OCI_MANIFEST)
        kept = stored(Digest.of(content), image.image.digest, template_digest(BODY))
        with pytest.raises(ReleaseError, match=why) as caught:
            read_template(registry, replace(kept, digest=Digest.of(content)), store)
        assert "--images-only" in str(caught.value.next_step)
