"""OCI image layouts on disk: ``oci-layout``, ``index.json`` and ``blobs/sha256/…``, for machines without a registry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.blobs import BlobStore, WrongContent
from pipeline.documents import parse_json
from pipeline.errors import BaseImageError, SourceError
from pipeline.model import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Artifact,
    CheckedImage,
    Descriptor,
    Digest,
    Manifest,
)

PREFIX = "oci:"
NAME = "org.opencontainers.image.ref.name"
_LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
# Indexes and manifests have a few kB; what is larger is not read into memory.
DOCUMENT_MOST = 4 * 1024 * 1024
_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LayoutEntry:
    """One manifest that ``index.json`` names.

    name          its ``org.opencontainers.image.ref.name``: a tag, or a function's name in our own layouts
    architecture  OCI's name of it, such as "arm64"; "" when the index does not say
    """

    descriptor: Descriptor
    name: str | None = None
    architecture: str = ""


class Layout:
    """An OCI image layout that is only read; blobs are verified when they are copied into a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = BlobStore(folder)

    @property
    def entries(self) -> tuple[LayoutEntry, ...]:
        """What ``index.json`` names, in its order. Raises BaseImageError when this is no layout."""
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
        """A manifest or an index of the layout. Raises BaseImageError when it is missing or damaged."""
        path = self._blobs.path(digest)
        try:
            content = path.read_bytes() if path.stat().st_size <= DOCUMENT_MOST else b""
        except OSError as error:
            raise self._unusable(f"{digest} is missing from it") from error
        if Digest.of(content) != digest:
            raise self._unusable(f"its blob {digest} is damaged or too long for a manifest")
        return read_manifest(content)

    def copy_blob(self, descriptor: Descriptor, store: BlobStore) -> None:
        """Put a blob into a store unless it is there. Raises BaseImageError when it is missing or damaged."""
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
            version = parse_json((self.folder / "oci-layout").read_bytes())["imageLayoutVersion"]
            document = parse_json((self.folder / "index.json").read_bytes())
            manifests = document["manifests"]
            if not isinstance(manifests, list) or not all(isinstance(entry, dict) for entry in manifests):
                raise TypeError("its index.json lists no manifests")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise self._unusable("it has no readable oci-layout and index.json") from error
        if not isinstance(version, str) or not version.startswith("1."):
            raise self._unusable(f"its layout has the version {version!r} instead of 1.0.0")
        return dict(document)

    def _unusable(self, why: str) -> BaseImageError:
        return BaseImageError(
            f"the OCI layout {self.folder} was not read",
            why,
            "Write it again, for example with `skopeo copy … oci:DIR`.",
        )


def parse_layout_name(text: str) -> tuple[Path, str | None]:
    """The folder and the image's name in ``oci:DIR`` or ``oci:DIR:NAME``, as other tools write it, or in a path.

    >>> parse_layout_name("oci:out:fraud-detection")
    (PosixPath('out'), 'fraud-detection')
    """
    place = text.removeprefix(PREFIX)
    folder, _, name = (place, "", "") if Path(place).is_dir() else place.partition(":")
    return Path(folder).expanduser(), name or None


def read_layout(folder: Path) -> Layout:
    """The layout in ``folder``. Raises BaseImageError when there is none."""
    layout = Layout(folder)
    _ = layout.entries
    return layout


def write_layout(
    images: Sequence[CheckedImage],
    folder: Path,
    store: BlobStore,
    *,
    artifacts: Mapping[str, tuple[Artifact, ...]] | None = None,
) -> None:
    """Write images as an OCI layout: one entry per image in ``index.json``, named like its function.

    The same images give the same files. ``index.json`` is replaced last and in one step, so a reader sees the old
    layout or the new one; blobs that nothing names any more are removed after that. A folder that holds something else
    than a layout is left alone.

    artifacts  by function, what refers to its image; listed after the images
    Raises SourceError when the folder cannot be used, or when a layer is not in the store.
    """
    from pipeline.files import write_atomically

    folder_in_use = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if folder_in_use and not (folder / "oci-layout").is_file():
        raise SourceError(
            f"no layout was written to {folder}", "it holds something else than an OCI layout", "Name an empty folder."
        )
    target = BlobStore(folder)
    entries: list[dict[str, Any]] = []
    referring: list[dict[str, Any]] = []
    kept: set[Digest] = set()
    try:
        write_atomically(folder / "oci-layout", _LAYOUT_FILE)
        for checked in sorted(images, key=lambda checked: checked.function):
            image = checked.image
            for layer in image.layers:
                _copy(layer.descriptor, store, target, checked.function)
            kept |= {target.add(image.config), target.add(image.manifest)}
            kept |= {layer.descriptor.digest for layer in image.layers}
            platform = {"architecture": image.platform.architecture.oci, "os": "linux"}
            entry = _entry(Manifest(image.manifest, image.manifest_media_type))
            entries.append(entry | {"annotations": {NAME: checked.function}, "platform": platform})
            for artifact in (artifacts or {}).get(checked.function, ()):
                for descriptor in artifact.blobs:
                    _copy(descriptor, store, target, checked.function)
                    kept.add(descriptor.digest)
                kept.add(target.add(artifact.manifest.content))
                referring.append(_entry(artifact.manifest) | {"artifactType": artifact.artifact_type})
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries + referring}
        write_atomically(folder / "index.json", json.dumps(index, indent=1, sort_keys=True).encode() + b"\n")
        for path in (folder / "blobs" / "sha256").iterdir():
            if path.name not in {digest.hex for digest in kept}:
                path.unlink()
    except OSError as error:
        raise SourceError(
            f"no layout was written to {folder}",
            error.strerror or str(error),
            "Free some space, or name another folder.",
        ) from error


def _copy(descriptor: Descriptor, store: BlobStore, target: BlobStore, function: str) -> None:
    if target.has(descriptor.digest, descriptor.size):
        return
    what, cure = f"{function} was not written", "Build it again: `build`."
    try:
        with store.open(descriptor.digest) as stream:
            target.write(iter(lambda: stream.read(_BLOCK), b""), expected=descriptor.digest, size=descriptor.size)
    except FileNotFoundError as error:
        raise SourceError(what, f"its blob {descriptor.digest} is not in the cache {store.root}", cure) from error
    except WrongContent as error:
        store.drop_damaged([descriptor.digest])
        raise SourceError(what, f"the cache was damaged: {error}; that is removed", cure) from error


def _entry(manifest: Manifest) -> dict[str, Any]:
    return {"mediaType": manifest.media_type, "digest": str(manifest.digest), "size": len(manifest.content)}


def read_manifest(content: bytes) -> Manifest:
    """A manifest with the media type that it has by its own words; older ones do not name it and are recognised."""
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
    """A descriptor of a manifest or an index. Raises ValueError, naming what is wrong."""
    if not isinstance(entry, dict):
        raise ValueError(f"a descriptor is an object, saw: {entry!r}")
    media_type, size = entry.get("mediaType"), entry.get("size")
    if not isinstance(media_type, str) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"a descriptor has a mediaType and a size, saw: {media_type!r} and {size!r}")
    return Descriptor(media_type, Digest.parse(str(entry.get("digest"))), size)
