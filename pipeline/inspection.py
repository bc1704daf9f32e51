"""Hold any image, wherever it lies, against Lambda's rules: for people who use only that."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.blobs import BlobStore
from pipeline.build.base import hub_name
from pipeline.build.layout import parse_descriptor, read_layout
from pipeline.check import find_findings
from pipeline.errors import BaseImageError, CheckFailed, Finding
from pipeline.model import Descriptor, Digest, ImageReference, Manifest
from pipeline.registry.client import Registry, connect

Connect = Callable[[str], Registry]


@dataclass(frozen=True, slots=True)
class Inspected:
    """One image and what Lambda would say of it: no findings means that Lambda takes it."""

    name: str
    digest: Digest
    findings: tuple[Finding, ...]


def inspect_images(text: str, *, open_registry: Connect = connect) -> tuple[Inspected, ...]:
    """The image that ``text`` names: a reference, or ``oci:DIR`` and every image in that layout.

    Layers go through a temporary folder one by one, whatever their size. Raises BaseImageError, RegistryError.
    """
    with tempfile.TemporaryDirectory(prefix="inspect-") as folder:
        store = BlobStore(Path(folder))
        if text.startswith("oci:") or Path(text).is_dir():
            layout = read_layout(Path(text.removeprefix("oci:")))
            return tuple(
                _inspect(
                    f"{text} {entry.name or ''}".strip(),
                    layout.manifest(entry.descriptor.digest),
                    store,
                    lambda descriptor: layout.copy_blob(descriptor, store),
                )
                for entry in layout.entries
                if not _is_artifact(layout.manifest(entry.descriptor.digest))
            )
        try:
            reference = hub_name(ImageReference.parse(text))
        except ValueError as problem:
            raise BaseImageError(
                f"{text} was not checked", str(problem), "Name an image like registry/name:tag, or a layout as oci:DIR."
            ) from problem
        registry = open_registry(reference.registry)
        manifest = registry.fetch_manifest(reference.repository, reference.digest or reference.tag or "latest")
        return (
            _inspect(
                str(reference),
                manifest,
                store,
                lambda descriptor: registry.fetch_blob(reference.repository, descriptor, store),
            ),
        )


def _is_artifact(manifest: Manifest) -> bool:
    """Whether it only speaks of an image, as an SBOM or a signature does (OCI image specification 1.1, referrers)."""
    try:
        document = json.loads(manifest.content)
    except ValueError:
        return False
    return isinstance(document, dict) and ("subject" in document or "artifactType" in document)


def _inspect(name: str, manifest: Manifest, store: BlobStore, fetch: Callable[[Descriptor], Any]) -> Inspected:
    config: bytes | None = None
    try:
        document = json.loads(manifest.content)
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")
        if "config" in document:
            descriptor = parse_descriptor(document["config"])
            fetch(descriptor)
            config = store.read(descriptor.digest)
        layers = [parse_descriptor(each) for each in document.get("layers", ())]
    except ValueError as problem:
        raise CheckFailed(
            f"{name} would be refused by Lambda", f"its manifest is broken: {problem}", "Build and push it again."
        ) from problem

    def opener(descriptor: Descriptor) -> Callable[[], BinaryIO]:
        def read() -> BinaryIO:
            fetch(descriptor)
            return store.open(descriptor.digest)

        return read

    findings = find_findings(manifest, config, [opener(layer) for layer in layers])
    return Inspected(name, manifest.digest, findings)
