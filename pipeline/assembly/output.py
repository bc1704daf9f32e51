"""Checked images as an OCI layout on disk, for machines without a registry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.assembly.model import CheckedImage
from pipeline.core.errors import NextStep, SourceError
from pipeline.core.files import write_atomically
from pipeline.oci.blobs import BlobStore, WrongContent
from pipeline.oci.layout import NAME
from pipeline.oci.values import OCI_INDEX, Artifact, Descriptor, Digest, Manifest

_LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
_BLOCK = 1024 * 1024


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
    target = BlobStore(folder)
    entries: list[dict[str, Any]] = []
    referring: list[dict[str, Any]] = []
    kept: set[Digest] = set()
    try:
        folder_in_use = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        if folder_in_use and not (folder / "oci-layout").is_file():
            raise SourceError(
                f"no layout was written to {folder}", "it holds files other than an OCI layout", "Name an empty folder."
            )
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
    what, cure = f"{function} was not written", NextStep("Build it again", ("build",))
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
