"""What is in an image, as a CycloneDX document that refers to it: an OCI 1.1 referrer, never part of an index.

Made from the locks alone, so it needs no network and is the same on every machine. It names the function and not the
image's digest: the referrer's subject does that, and so a line of code that changes leaves a document that every
registry has already.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any

from pipeline.assembly.dependencies.dependency_layers import runtime_lock
from pipeline.assembly.dependencies.installation import LockedPackage, read_lock
from pipeline.assembly.image import canonical_json
from pipeline.assembly.model import FunctionSource, Image, Platform
from pipeline.assembly.referrers import make_referrer
from pipeline.core.records import code_version, read_record, write_record
from pipeline.core.shown import without_secrets
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import CREATED
from pipeline.oci.values import Artifact, Digest

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

CYCLONEDX = "application/vnd.cyclonedx+json"


def sbom_referrer(image: Image, source: FunctionSource, store: BlobStore) -> Artifact:
    """The bill of materials of an image; its blobs are in ``store``. Raises DependencyError for an unusable lock."""
    contents = [read_lock(source.requirements)] if source.requirements is not None else []
    if any(layer.title == "runtime" for layer in image.layers):
        contents.append(runtime_lock())
    bases = sorted({str(layer.source) for layer in image.layers if layer.source})
    made_from = [source.name, str(image.platform), bases, [Digest.of(lock.content).hex for lock in contents]]
    key = Digest.of(canonical_json(made_from))
    version = code_version(__name__, "pipeline.assembly.dependencies.installation", "pipeline.core.shown")
    record = store.root / "sboms" / f"{key.hex}-{version}.json"
    content = _remembered(store, read_record(record))
    if content is None:
        packages = {package.name: package for lock in contents for package in lock.packages}
        content = _render(source.name, key, bases, _for_target(packages.values(), image.platform))
        write_record(record, {"sbom": str(store.add(content))})
    return make_referrer(image, CYCLONEDX, content, store)


def _remembered(store: BlobStore, record: dict[str, Any] | None) -> bytes | None:
    """The document of an earlier build: making another one means importing a large library."""
    try:
        return store.read(Digest.parse(str((record or {}).get("sbom"))))
    except (ValueError, FileNotFoundError):
        return None


def _for_target(packages: Any, platform: Platform) -> list[LockedPackage]:
    """The packages whose markers hold on the target."""
    from packaging.markers import Marker

    environment = {
        "implementation_name": "cpython",
        "implementation_version": f"{platform.python}.0",
        "os_name": "posix",
        "platform_machine": "aarch64" if platform.architecture.oci == "arm64" else "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{platform.python}.0",
        "python_version": str(platform.python),
        "sys_platform": "linux",
        "extra": "",
    }
    return [each for each in packages if not each.marker or Marker(each.marker).evaluate(environment)]


def _render(name: str, key: Digest, bases: list[str], packages: list[LockedPackage]) -> bytes:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    root = Component(name=name, type=ComponentType.CONTAINER, bom_ref=f"image/{name}")
    parts = [_component(package) for package in packages]
    parts += [_base_component(reference) for reference in bases]
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, str(key)),
        metadata=BomMetaData(component=root),
        components=parts,
    )
    bom.register_dependency(root, parts)
    rendered = json.loads(JsonV1Dot6(bom).output_as_string())
    # The library stamps the current time; the document belongs to its locks, not to a moment.
    rendered["metadata"]["timestamp"] = CREATED
    return canonical_json(rendered)


def _component(package: LockedPackage) -> Component:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    purl = PackageURL("pypi", None, package.name, package.version or None)
    # A lock has the hash of every file that may be installed, not only of the one that was: they go with the source.
    origin = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(without_secrets(package.url) or purl.to_string()),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in package.hashes],
    )
    return Component(
        name=package.name,
        version=package.version or None,
        type=ComponentType.LIBRARY,
        bom_ref=purl.to_string(),
        purl=purl,
        external_references=[origin],
    )


def _base_component(reference: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType

    name, _, digest = reference.partition("@")
    bom_ref = re.sub(r"[^A-Za-z0-9.:@/-]", "-", f"base/{reference}")
    return Component(name=name, version=digest or None, type=ComponentType.CONTAINER, bom_ref=bom_ref)
