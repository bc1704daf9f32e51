"""Check any image, in a registry or a layout, against Lambda's rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pipeline.assembly.check import find_findings
from pipeline.bases.resolve import hub_name
from pipeline.core.documents import parse_json
from pipeline.core.errors import BaseImageError, CheckFailed, Finding
from pipeline.core.files import cache_folder
from pipeline.core.shown import first_few, shown
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import DOCUMENT_MOST, PREFIX, parse_descriptor, parse_layout_name, read_layout
from pipeline.oci.registry.client import Registry, connect
from pipeline.oci.values import Descriptor, Digest, ImageReference, Manifest
from pipeline.oci.work import sweep_store, work_folder

Connect = Callable[[str], Registry]
# Other transports of containers-transports(5); as references they would be looked up in Docker Hub.
_ELSEWHERE = re.compile(r"(?:docker-archive|oci-archive|docker-daemon|containers-storage|dir):")


@dataclass(frozen=True, slots=True)
class Inspected:
    """One image and its findings; without findings Lambda accepts it."""

    name: str
    digest: Digest
    findings: tuple[Finding, ...]


def inspect_images(text: str, *, open_registry: Connect = connect) -> tuple[Inspected, ...]:
    """Inspect the image ``text``: a reference, ``oci:DIR`` for every image of a layout, ``oci:DIR:NAME`` for one.

    Layers are read through a temporary folder of the cache. Raises BaseImageError, RegistryError, and CheckFailed for
    an invalid manifest.
    """
    if text.startswith(PREFIX) or _is_folder(text):
        return _inspect_layout(text)
    if _ELSEWHERE.match(text) or (text and _exists(text)):
        raise BaseImageError(
            f"{shown(text)} was not checked",
            "it is neither in a registry nor an OCI layout",
            "Make it a layout first, and check that: for example `skopeo copy docker-archive:FILE oci:DIR`.",
        )
    try:
        reference = hub_name(ImageReference.parse(text.removeprefix("docker://")))
    except ValueError as problem:
        raise BaseImageError(
            f"{shown(text)} was not checked",
            str(problem),
            "Name an image like registry/name:tag, or a layout as oci:DIR or oci:DIR:NAME.",
        ) from problem
    with open_registry(reference.registry) as registry:
        manifest = registry.fetch_manifest(reference.repository, reference.digest or reference.tag or "latest")
        fetch = partial(registry.fetch_blob, reference.repository)
        return (_inspect(str(reference), manifest, fetch),)


def _is_folder(text: str) -> bool:
    return bool(text) and _exists(text) and Path(text).is_dir()


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # too long for a path
        return False


def _inspect_layout(text: str) -> tuple[Inspected, ...]:
    folder, name = parse_layout_name(text)
    layout = read_layout(folder)
    found = [
        (entry, manifest)
        for entry in layout.entries
        if name is None or entry.name == name
        if not _is_artifact(manifest := layout.manifest(entry.descriptor.digest))
    ]
    if not found:
        names = first_few(entry.name for entry in layout.entries if entry.name) or "nothing by name"
        raise BaseImageError(
            f"{text} was not checked",
            f"the layout holds {names}" if name is not None else "the layout holds no image",
            "Name a layout that holds an image, or one of its images: oci:DIR:NAME.",
        )
    place = f"{PREFIX}{folder}" if text.startswith(PREFIX) else str(folder)
    return tuple(
        _inspect(f"{place} {shown(entry.name)}" if entry.name else place, manifest, layout.copy_blob)
        for entry, manifest in found
    )


def _is_artifact(manifest: Manifest) -> bool:
    """Whether it is a referrer, such as an SBOM or a signature (OCI image specification 1.1)."""
    try:
        document = parse_json(manifest.content)
    except ValueError:
        return False
    return isinstance(document, dict) and ("subject" in document or "artifactType" in document)


def _inspect(name: str, manifest: Manifest, fetch: Callable[[Descriptor, BlobStore], None]) -> Inspected:
    cache = BlobStore(cache_folder())
    sweep_store(cache)
    with work_folder(cache) as folder:
        return _judge(name, manifest, fetch, BlobStore(folder))


def _judge(
    name: str, manifest: Manifest, fetch: Callable[[Descriptor, BlobStore], None], store: BlobStore
) -> Inspected:
    config: bytes | None = None
    try:
        document = parse_json(manifest.content)
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")
        if "config" in document:
            descriptor = parse_descriptor(document["config"])
            if descriptor.size > DOCUMENT_MOST:
                raise ValueError(f"its config claims to have {descriptor.size:,} bytes")
        else:
            descriptor = None
        entries = document.get("layers")
        layers = [parse_descriptor(each) for each in entries] if isinstance(entries, list) else []
    except ValueError as problem:
        raise CheckFailed(
            f"{name} would be refused by Lambda", f"its manifest is broken: {problem}", "Build and push it again."
        ) from problem
    if descriptor is not None:
        fetch(descriptor, store)
        config = store.read(descriptor.digest)

    def opener(descriptor: Descriptor) -> Callable[[], BinaryIO]:
        def read() -> BinaryIO:
            fetch(descriptor, store)
            return store.open(descriptor.digest)

        return read

    findings = find_findings(manifest, config, [opener(layer) for layer in layers])
    return Inspected(name, manifest.digest, findings)
