"""OCI image layouts on disk: ``oci-layout``, ``index.json`` and ``blobs/sha256/…``, for machines without a registry."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.documents import parse_json
from pipeline.core.errors import BaseImageError
from pipeline.core.files import read_regular
from pipeline.core.shown import shorten, shown
from pipeline.oci.blobs import BlobStore, WrongContent
from pipeline.oci.values import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Digest,
    Manifest,
)

PREFIX = "oci:"
NAME = "org.opencontainers.image.ref.name"
# Indexes and manifests have a few kB; a larger file is not read into memory.
DOCUMENT_MOST = 4 * 1024 * 1024
_BLOCK = 1024 * 1024
# A size is an int64 (OCI image specification, "Content Descriptors").
_SIZE_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class LayoutEntry:
    """One manifest in ``index.json``.

    name          its ``org.opencontainers.image.ref.name``: a tag, or a function's name in our own layouts
    architecture  OCI's name, such as "arm64"; "" if the index has none
    """

    descriptor: Descriptor
    name: str | None = None
    architecture: str = ""


class Layout:
    """A read-only OCI image layout; blobs are verified when they are copied into a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = BlobStore(folder)

    @property
    def entries(self) -> tuple[LayoutEntry, ...]:
        """The manifests of ``index.json``, in order. Raises BaseImageError if this is not a layout."""
        try:
            return tuple(
                LayoutEntry(
                    parse_descriptor(entry),
                    (entry.get("annotations") or {}).get(NAME),
                    (entry.get("platform") or {}).get("architecture", ""),
                )
                for entry in self._index()["manifests"]
            )
        except (ValueError, AttributeError) as error:
            raise self._unusable(f"its index.json is not understood ({error})") from error

    def index(self) -> Manifest:
        """``index.json`` as an index."""
        return Manifest(json.dumps(self._index()).encode(), OCI_INDEX)

    def manifest(self, digest: Digest) -> Manifest:
        """A manifest or an index of the layout. Raises BaseImageError if it is missing or damaged."""
        try:
            content = read_regular(self._blobs.path(digest), DOCUMENT_MOST)
        except FileNotFoundError as error:
            raise self._unusable(f"{digest} is missing from it") from error
        except OSError as error:
            raise self._unusable(f"its blob {digest} cannot be read: {error.strerror}") from error
        if Digest.of(content) != digest:
            raise self._unusable(f"its blob {digest} is damaged")
        return read_manifest(content)

    def copy_blob(self, descriptor: Descriptor, store: BlobStore) -> None:
        """Copy a blob into a store if it lacks it. Raises BaseImageError if the blob is missing or damaged."""
        if store.has(descriptor.digest, descriptor.size):
            return
        try:
            with self._blobs.open(descriptor.digest) as stream:
                blocks = iter(lambda: stream.read(_BLOCK), b"")
                store.write(blocks, expected=descriptor.digest, size=descriptor.size)
        except (OSError, WrongContent) as error:
            raise self._unusable(f"its blob {descriptor.digest} is missing or damaged ({error})") from error

    def _index(self) -> dict[str, Any]:
        try:
            version = parse_json(read_regular(self.folder / "oci-layout", DOCUMENT_MOST))["imageLayoutVersion"]
            document = parse_json(read_regular(self.folder / "index.json", DOCUMENT_MOST))
            manifests = document["manifests"]
            if not isinstance(manifests, list) or not all(isinstance(entry, dict) for entry in manifests):
                raise TypeError("its index.json lists no manifests")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise self._unusable("it has no readable oci-layout and index.json") from error
        if not isinstance(version, str) or not version.startswith("1."):
            raise self._unusable(f"its layout has the version {shorten(str(version))} instead of 1.0.0")
        return dict(document)

    def _unusable(self, why: str) -> BaseImageError:
        return BaseImageError(
            f"the OCI layout {self.folder} was not read",
            why,
            "Write it again, for example with `skopeo copy … oci:DIR`.",
        )


def parse_layout_name(text: str) -> tuple[Path, str | None]:
    """The folder and image name of ``oci:DIR`` or ``oci:DIR:NAME``, or of a path.

    Raises BaseImageError for an invalid path.

    >>> parse_layout_name("oci:out:fraud-detection")
    (PosixPath('out'), 'fraud-detection')
    """
    place = text.removeprefix(PREFIX)
    try:
        if not place.isprintable():
            raise ValueError("it holds characters that cannot be printed")
        folder, _, name = (place, "", "") if Path(place).is_dir() else place.partition(":")
        return Path(folder).expanduser(), name or None
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, or a home that does not exist
        raise BaseImageError(
            f"the OCI layout {shorten(place)} was not read", f"it is not a usable path ({error})", "Name a folder."
        ) from error


def read_layout(folder: Path) -> Layout:
    """The layout in ``folder``. Raises BaseImageError if there is none."""
    layout = Layout(folder)
    _ = layout.entries
    return layout


def read_manifest(content: bytes) -> Manifest:
    """A manifest with the media type that it declares, or, for older ones, that is recognised."""
    try:
        document = parse_json(content)
    except ValueError:
        return Manifest(content, "")
    if not isinstance(document, dict):
        return Manifest(content, "")
    own = document.get("mediaType")
    if isinstance(own, str):
        return Manifest(content, own)
    if "manifests" in document:
        return Manifest(content, OCI_INDEX)
    config = document.get("config")
    docker = isinstance(config, dict) and config.get("mediaType") == DOCKER_CONFIG
    if "layers" not in document:
        return Manifest(content, "")
    return Manifest(content, DOCKER_MANIFEST if docker else OCI_MANIFEST)


def parse_descriptor(entry: object) -> Descriptor:
    """Parse a descriptor of a manifest or an index. Raises ValueError."""
    if not isinstance(entry, dict):
        raise ValueError(f"a descriptor is an object, saw: {shown(repr(entry))}")
    media_type, size = entry.get("mediaType"), entry.get("size")
    if not isinstance(media_type, str) or type(size) is not int or not 0 <= size <= _SIZE_MAX:
        raise ValueError(f"a descriptor has a mediaType and a size, saw: {shown(repr((media_type, size)))}")
    return Descriptor(media_type, Digest.parse(str(entry.get("digest"))), size)
