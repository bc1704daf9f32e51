"""Layers by what they are made of, so that an unchanged one is neither made nor read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core.records import code_version, read_record, write_record
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import OCI_LAYER_GZIP, Descriptor, Digest, Layer

# A change to one of these may change a layer.
_MODULES = (
    "pipeline.assembly.layers",
    "pipeline.assembly.dependencies.dependency_layers",
    "pipeline.assembly.dependencies.slim",
    "pipeline.assembly.dependencies.byte_code",
    "pipeline.assembly.dependencies.distribution",
    "pipeline.assembly.dependencies.installation",
    "pipeline.assembly.facts.glibc",
    "pipeline.assembly.own.completeness",
    "pipeline.oci.tarball",
)


def recorded_layer(record: Path, title: str, store: BlobStore) -> Layer | None:
    """The layer that a record names, when its blob is still in the store."""
    value = read_record(record)
    if value is None:
        return None
    try:
        descriptor = Descriptor(OCI_LAYER_GZIP, Digest.parse(value["digest"]), int(value["size"]))
        layer = Layer(descriptor, Digest.parse(value["diff_id"]), title)
    except (KeyError, ValueError, TypeError):
        return None
    return layer if store.has(descriptor.digest, descriptor.size) else None


def record_layer(record: Path, layer: Layer, **more: Any) -> Layer:
    """Write a layer's record, with ``more`` beside it."""
    descriptor = layer.descriptor
    value = {"digest": str(descriptor.digest), "size": descriptor.size, "diff_id": str(layer.diff_id)}
    write_record(record, value | more)
    return layer


def layer_version() -> str:
    """Changes with the code that decides what is in a layer."""
    return code_version(*_MODULES)
