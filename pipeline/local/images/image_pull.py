"""Pull images from the emulated ECR: manifests, configs and layers, verified before they are unpacked."""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.documents import parse_json
from pipeline.local.images.unpack import UnsafeLayer
from pipeline.oci.layout import parse_descriptor
from pipeline.oci.registry.client import Credentials, Registry
from pipeline.oci.registry.retries import Retries
from pipeline.oci.values import DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, Digest

_CHUNK = 1 << 20
# Configs have a few kB.
_CONFIG_MAX = 8 << 20


class ImageUnavailable(Exception):
    """An image that is missing in the registry, damaged, unsafe, or of a kind that Lambda refuses."""


# Returns the registry for the host name of an image URI.
Connect = Callable[[str], Registry]


def local_registries(endpoint: str, token: str) -> Connect:
    """The registries of the embedded AWS, all at ``endpoint``; ``token`` is the host's login."""
    login, retries = Credentials("AWS", token), Retries(attempts=3)
    return functools.cache(lambda host: Registry(host, endpoint_url=endpoint, credentials=login, retries=retries))


@dataclass(frozen=True, slots=True)
class PulledImage:
    """A described image. ``layers`` has each layer with its diff id, the lowest first."""

    config: dict[str, Any]
    layers: tuple[tuple[Descriptor, Digest], ...]


def pull_description(registry: Registry, repository: str, digest: Digest) -> PulledImage:
    """Fetch an image's manifest and config. Raises ImageUnavailable, RegistryError and ValueError."""
    manifest = registry.find_manifest(repository, digest)
    if manifest is None:
        raise ImageUnavailable(f"{repository}@{digest} is not in the registry; run `up` to push it")
    document = parse_json(manifest.content)
    if manifest.is_index or "manifests" in document:
        raise ImageUnavailable(f"{repository}@{digest} is an image index, which Lambda refuses; push one image")
    if (media_type := document.get("mediaType", OCI_MANIFEST)) not in (OCI_MANIFEST, DOCKER_MANIFEST):
        raise ImageUnavailable(f"{repository}@{digest} has a manifest of type {media_type!r}, which Lambda refuses")
    config = parse_json(_read_blob(registry, repository, parse_descriptor(document["config"])))
    layers = [parse_descriptor(entry) for entry in document["layers"]]
    diff_ids = [Digest.parse(text) for text in config["rootfs"]["diff_ids"]]
    if len(diff_ids) != len(layers):
        raise ImageUnavailable(f"{repository}@{digest} has {len(layers)} layers and {len(diff_ids)} diff ids")
    return PulledImage(config, tuple(zip(layers, diff_ids, strict=True)))


def _read_blob(registry: Registry, repository: str, descriptor: Descriptor) -> bytes:
    if descriptor.size > _CONFIG_MAX:
        raise ImageUnavailable(f"the config {descriptor.digest} has {descriptor.size} bytes")
    content = b"".join(registry.open_blob(repository, descriptor))
    if Digest.of(content) != descriptor.digest:
        raise ImageUnavailable(f"the registry answered {Digest.of(content)} for {repository}@{descriptor.digest}")
    return content


def pull_layer(
    registry: Registry, repository: str, layer: Descriptor, diff_id: Digest, archive: Path, bytes_max: int
) -> None:
    """Write a layer's uncompressed tar, verifying both digests; do not open it if this raises.

    Raises ImageUnavailable, UnsafeLayer, RegistryError and zlib.error.
    """
    if layer.media_type not in (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP):
        raise ImageUnavailable(f"the layer {layer.digest} is {layer.media_type!r}; Lambda takes gzip layers")
    compressed, plain, count = hashlib.sha256(), hashlib.sha256(), 0

    def hashed() -> Iterator[bytes]:
        for block in registry.open_blob(repository, layer):
            compressed.update(block)
            yield block

    with archive.open("wb") as file:
        for content in _inflate(hashed()):
            count += len(content)
            # Tar headers are small beside the content, or the layer was made to fill the disk.
            if count > 2 * bytes_max:
                raise UnsafeLayer("more bytes than an image may have")
            plain.update(content)
            file.write(content)
    if compressed.hexdigest() != layer.digest.hex or plain.hexdigest() != diff_id.hex:
        raise ImageUnavailable(f"the layer {layer.digest} does not match the image's manifest and config")


def _inflate(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The content of a gzip stream of one or several members, in chunks of bounded size."""
    inflate = zlib.decompressobj(wbits=31)
    for block in blocks:
        pending = block
        while pending:
            yield inflate.decompress(pending, _CHUNK)
            pending = inflate.unconsumed_tail or inflate.unused_data
            if inflate.eof and pending:
                inflate = zlib.decompressobj(wbits=31)
    while content := inflate.decompress(inflate.unconsumed_tail, _CHUNK):
        yield content
