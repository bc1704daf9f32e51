"""The values that flow from a source folder to a running function. Each stage takes the value of the stage before it.

find_sources → FunctionSource → lay_out → Layer… → assemble → Image → check_image → CheckedImage
→ push_image → PushedImage → image_parameters → plan_stack → apply_stack → verify_function

Nothing here reads, writes or talks to anybody.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cfn.settings import Architecture, FunctionDefinition

_HEX = re.compile(r"[0-9a-f]{64}")
# The distribution specification's grammar for a repository name and for a tag.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# What most clients take at all, the registry's name included (distribution specification, "Pulling manifests").
_REPOSITORY_MAX = 255
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

# Where functions and what they import are, in the images of Lambda's bases and ours.
TASK_ROOT = "/var/task"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 content digest; ``str()`` gives ``sha256:<64 hex>``."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise ValueError(f"a digest has 64 lower-case hexadecimal digits, saw: {self.hex!r}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """``sha256:<64 hex>``; raises ValueError for anything else."""
        algorithm, separator, value = text.partition(":")
        if not separator or algorithm != "sha256":
            raise ValueError(f"a digest is written sha256:<64 hexadecimal digits>, saw: {text!r}")
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
            raise ValueError(f"a repository is lower-case words joined by . _ - and /, saw: {name!r} in {text!r}")
        if registry and not _REGISTRY.fullmatch(registry):
            raise ValueError(f"a registry is a host with or without a port, saw: {registry!r} in {text!r}")
        if len(name) > _REPOSITORY_MAX:
            raise ValueError(f"a repository has at most {_REPOSITORY_MAX} characters, saw {len(name)}")
        if tag is not None and not _TAG.fullmatch(tag):
            raise ValueError(f"a tag is 1 to 128 of A-Z a-z 0-9 . _ -, saw: {tag!r} in {text!r}")
        return cls(registry, name, tag, digest)

    def __str__(self) -> str:
        text = f"{self.registry}/{self.repository}" if self.registry else self.repository
        if self.tag is not None:
            text += f":{self.tag}"
        return f"{text}@{self.digest}" if self.digest is not None else text


@dataclass(frozen=True, slots=True, order=True)
class PythonVersion:
    """A minor version of Python: ``PythonVersion.parse("3.13")``."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Self:
        match = re.fullmatch(r"(3)\.(\d{1,2})", text)
        if match is None:
            raise ValueError(f"a Python version is written 3.<minor>, saw: {text!r}")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image is made for: Lambda's architecture and a Python minor version, always Linux with glibc."""

    architecture: Architecture
    python: PythonVersion

    def __str__(self) -> str:
        return f"linux/{self.architecture.oci} python{self.python}"


@dataclass(frozen=True, slots=True)
class FunctionSource:
    """A folder under ``images/`` that was read and found complete.

    handler       "module.function", found in the folder
    requirements  the hash-locked requirements file, or None when the function has no dependencies
    shared        folders of packages that stand beside the functions and are shipped with each
    """

    definition: FunctionDefinition
    folder: Path
    handler: str
    requirements: Path | None = None
    shared: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        return self.definition.name


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of a blob. size in bytes, as stored (compressed)."""

    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The exact bytes of a manifest or an index as a registry or a layout keeps them, with their media type."""

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
    """Something that refers to an image (an OCI 1.1 referrer), such as an SBOM; its blobs are in the blob store.

    manifest  names the image as its ``subject``
    blobs     the config and the layers that the manifest names
    """

    manifest: Manifest
    artifact_type: str
    blobs: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image.

    diff_id  the digest of the uncompressed tar
    title    what it holds, for people: "base", "dependencies", "shared", "function"
    source   for a layer that may not be in the blob store yet: the reference of the image it comes from
    """

    descriptor: Descriptor
    diff_id: Digest
    title: str
    source: ImageReference | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """What an image stands on: the base's own config document and its layers; both empty for the empty base.

    docker  the base is of Docker's media types, so the image made on it is too (one manifest never mixes the two)
    """

    config: bytes
    layers: tuple[Layer, ...] = ()
    reference: ImageReference | None = None
    docker: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A complete image: the exact bytes of its config and manifest, and its layers in order.

    Its digest is known here, before any push. Blobs of layers are in the blob store, or fetched from ``Layer.source``.
    """

    manifest: bytes
    manifest_media_type: str
    config: bytes
    config_descriptor: Descriptor
    layers: tuple[Layer, ...]
    platform: Platform

    @property
    def digest(self) -> Digest:
        return Digest.of(self.manifest)


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """An image of a function that passed every rule of Lambda; made by ``pipeline.check`` only."""

    function: str
    image: Image


@dataclass(frozen=True, slots=True)
class PushedImage:
    """An image that was read back from its registry by digest and found equal.

    uploaded  bytes that this push really sent
    """

    function: str
    repository_uri: str
    digest: Digest
    uploaded: int = 0

    @property
    def uri(self) -> str:
        """``<repository>@sha256:…``: what the stack's image parameter takes."""
        return f"{self.repository_uri}@{self.digest}"
