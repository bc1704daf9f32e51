"""Small, valid images for tests: real gzip layers that OCI tools can unpack."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile

from cfn.settings import Architecture
from pipeline.assembly.model import CheckedImage, Image, Platform, PythonVersion
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import (
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Artifact,
    Descriptor,
    Digest,
    ImageReference,
    Layer,
    Manifest,
)

PLATFORM = Platform(Architecture.ARM64, PythonVersion(3, 13))
SBOM = "application/vnd.cyclonedx+json"


def noise(size: int, seed: object = 0) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(repr(seed)).randbytes(size)


def make_layer(files: dict[str, bytes], store: BlobStore, title: str = "function") -> Layer:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        folders = sorted(
            {"/".join(name.split("/")[:depth]) for name in files for depth in range(1, name.count("/") + 1)}
        )
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    content = gzip.compress(raw.getvalue(), mtime=0)
    digest = store.add(content)
    return Layer(Descriptor(OCI_LAYER_GZIP, digest, len(content)), Digest.of(raw.getvalue()), title)


def make_image(
    function: str, layers: list[Layer], *, platform: Platform = PLATFORM, config: dict[str, object] | None = None
) -> CheckedImage:
    document = {
        "architecture": platform.architecture.oci,
        "os": "linux",
        "config": {"Cmd": ["handler.handle"], "WorkingDir": "/var/task", "Labels": {"function": function}},
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
    } | (config or {})
    content = json.dumps(document).encode()
    descriptor = Descriptor(OCI_CONFIG, Digest.of(content), len(content))
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe(descriptor),
        "layers": [describe(layer.descriptor) for layer in layers],
    }
    raw = json.dumps(manifest).encode()
    return CheckedImage(function, Image(raw, OCI_MANIFEST, content, descriptor, tuple(layers), platform))


def describe(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}


def make_sbom(subject: CheckedImage, store: BlobStore) -> Artifact:
    """A referrer, as an SBOM is attached."""
    empty, document = b"{}", json.dumps({"bomFormat": "CycloneDX", "subject": subject.function}).encode()
    config = Descriptor("application/vnd.oci.empty.v1+json", store.add(empty), len(empty))
    layer = Descriptor(SBOM, store.add(document), len(document))
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": SBOM,
        "config": describe(config),
        "layers": [describe(layer)],
        "subject": {
            "mediaType": subject.image.manifest_media_type,
            "digest": str(subject.image.digest),
            "size": len(subject.image.manifest),
        },
    }
    return Artifact(Manifest(json.dumps(manifest).encode(), OCI_MANIFEST), SBOM, (config, layer))


def pair(store: BlobStore, *, shared: int = 3000, own: int = 200) -> list[CheckedImage]:
    """Two functions that share one layer."""
    common = make_layer({"var/task/shared.bin": noise(shared)}, store, "dependencies")
    return [
        make_image(name, [common, make_layer({"var/task/handler.py": noise(own, name)}, store)])
        for name in ("fraud-detection", "compliance-checking")
    ]


def from_source(layer: Layer, source: ImageReference) -> Layer:
    return Layer(layer.descriptor, layer.diff_id, "base", source)


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
