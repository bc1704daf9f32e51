"""OCI's values: digests, references, descriptors, manifests and layers, with their media types. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from pipeline.core.shown import shorten

_HEX = re.compile(r"[0-9a-f]{64}")
# The distribution specification's grammar for a repository name and for a tag.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# The limit of many clients, including the registry's name (distribution specification, "Pulling manifests").
_REPOSITORY_MAX = 255
_PORT_MAX = 65_535
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_INDEX)
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 content digest; ``str()`` gives ``sha256:<64 hex>``."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise ValueError(f"a digest has 64 lower-case hexadecimal digits, saw: {shorten(self.hex)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """``sha256:<64 hex>``; raises ValueError for anything else."""
        algorithm, separator, value = text.partition(":")
        if not separator or algorithm != "sha256":
            raise ValueError(f"a digest is written sha256:<64 hexadecimal digits>, saw: {shorten(text)}")
        return cls(value)

    @classmethod
    def of(cls, content: bytes) -> Self:
        return cls(hashlib.sha256(content).hexdigest())

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @property
    def short(self) -> str:
        """The first 12 digits, for people."""
        return self.hex[:12]


@dataclass(frozen=True, slots=True)
class ImageReference:
    """``[registry/]repository[:tag][@digest]``, parsed once. ``registry`` has its port, if any."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, naming the offending part.

        >>> str(ImageReference.parse("127.0.0.1:5000/team/app:1.0"))
        '127.0.0.1:5000/team/app:1.0'
        """
        rest, separator, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if separator else None
        first, slash, remainder = rest.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            registry, path = first, remainder
        else:
            registry, path = "", rest
        name, colon, tag_text = path.partition(":")
        tag = tag_text if colon else None
        if not _REPOSITORY.fullmatch(name):
            raise ValueError(
                f"a repository is lower-case words joined by . _ - and /, saw: {shorten(name)} in {shorten(text)}"
            )
        port = registry.rpartition(":")[2]
        if registry and (not _REGISTRY.fullmatch(registry) or (port.isdigit() and not 0 < int(port) <= _PORT_MAX)):
            raise ValueError(
                f"a registry is a host with or without a port, saw: {shorten(registry)} in {shorten(text)}"
            )
        if len(name) > _REPOSITORY_MAX:
            raise ValueError(f"a repository has at most {_REPOSITORY_MAX} characters, saw {len(name)}")
        if tag is not None and not _TAG.fullmatch(tag):
            raise ValueError(f"a tag is 1 to 128 of A-Z a-z 0-9 . _ -, saw: {shorten(tag)} in {shorten(text)}")
        return cls(registry, name, tag, digest)

    def __str__(self) -> str:
        text = f"{self.registry}/{self.repository}" if self.registry else self.repository
        if self.tag is not None:
            text += f":{self.tag}"
        return f"{text}@{self.digest}" if self.digest is not None else text


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A manifest's description of a blob. size in bytes, as stored (compressed)."""

    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The exact bytes of a manifest or an index, with its media type."""

    content: bytes
    media_type: str

    @property
    def digest(self) -> Digest:
        return Digest.of(self.content)

    @property
    def is_index(self) -> bool:
        return self.media_type in (OCI_INDEX, DOCKER_INDEX)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A referrer (OCI 1.1) of an image, such as an SBOM; its blobs are in the blob store.

    manifest  names the image as its ``subject``
    blobs     the config and the layers that the manifest names
    tag       under which it is found besides, if any
    """

    manifest: Manifest
    artifact_type: str
    blobs: tuple[Descriptor, ...]
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image.

    diff_id  the digest of the uncompressed tar
    title    its content, for people: "base", "dependencies", "shared", "function"
    source   for a layer that may not be in the blob store: the reference of its image
    """

    descriptor: Descriptor
    diff_id: Digest
    title: str
    source: ImageReference | None = None
