"""Whether what lies beside an image in a registry proves where it comes from, by a public key.

Everything read here may be an attacker's: each blob is verified by its digest, and nothing is believed before the
signature over it holds and names the image.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.assembly.proof.attestations import (
    BUNDLE,
    PAYLOAD_TYPE,
    SIGNATURE_ANNOTATION,
    SIMPLE_SIGNING,
    pre_authentication,
    signature_tag,
)
from pipeline.assembly.proof.provenance import IN_TOTO, PREDICATE, STATEMENT
from pipeline.assembly.proof.signing import Verifier
from pipeline.core.documents import parse_json
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import parse_descriptor
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import Descriptor, Digest, Manifest

# Payloads, bundles and bills of materials are documents; what claims to be larger is not fetched.
_DOCUMENT_MOST = 8 * 1024 * 1024
_ARTIFACTS_MOST = 50
_CYCLONEDX = "application/vnd.cyclonedx+json"


@dataclass(frozen=True, slots=True)
class Proven:
    """What was found beside an image.

    faults      why its signature or provenance does not hold; () if both do
    provenance  the predicate of the verified statement, or None
    sbom        the digest of its bill of materials, or None; the image's signature does not cover it
    """

    digest: Digest
    faults: tuple[str, ...]
    provenance: Mapping[str, Any] | None = None
    sbom: Digest | None = None


def verify_signature(registry: Registry, repository: str, digest: Digest, key: Verifier, store: BlobStore) -> str:
    """Why no signature of an image holds under ``key``; "" if one does. Raises RegistryError."""
    manifest = registry.find_manifest(repository, signature_tag(digest))
    if manifest is None:
        return "it has no signature"
    faults = []
    for descriptor, notes in _layers(manifest):
        if descriptor.media_type != SIMPLE_SIGNING or descriptor.size > _DOCUMENT_MOST:
            continue
        registry.fetch_blob(repository, descriptor, store)
        payload = store.read(descriptor.digest)
        fault = judge_signature(payload, str(notes.get(SIGNATURE_ANNOTATION, "")), digest, key)
        if not fault:
            return ""
        faults.append(fault)
    return faults[0] if faults else "its signature's manifest holds no signature"


def judge_signature(payload: bytes, signature: str, digest: Digest, key: Verifier) -> str:
    """Why a signature does not prove that the key's owner signed the image ``digest``; "" if it does. Pure."""
    try:
        decoded = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return "its signature is not in base64"
    if not key.verify(decoded, payload):
        return "its signature is by another key, or over another payload"
    try:
        critical = parse_json(payload)["critical"]
        named, kind = critical["image"]["docker-manifest-digest"], critical["type"]
    except (ValueError, LookupError, TypeError):
        return "its signed payload is no simple signing document"
    if kind != PAYLOAD_TYPE:
        return f"its signed payload is a {str(kind)[:80]!r}, not a {PAYLOAD_TYPE!r}"
    return "" if named == str(digest) else f"its signature is over {str(named)[:80]}"


def judge_bundle(bundle: bytes, digest: Digest, key: Verifier) -> tuple[str, Mapping[str, Any] | None]:
    """Why a Sigstore bundle holds no provenance of ``digest`` signed by ``key``, or "" and the predicate. Pure."""
    try:
        envelope = parse_json(bundle)["dsseEnvelope"]
        kind, payload = str(envelope["payloadType"]), base64.b64decode(envelope["payload"], validate=True)
        signatures = [base64.b64decode(each["sig"], validate=True) for each in envelope["signatures"]]
    except (ValueError, LookupError, TypeError):
        return "its provenance is no bundle with an envelope", None
    signed = pre_authentication(kind, payload)
    if kind != IN_TOTO or not any(key.verify(signature, signed) for signature in signatures):
        return "its provenance is signed by another key, or is another document", None
    try:
        statement = parse_json(payload)
        subjects = {subject["digest"]["sha256"] for subject in statement["subject"]}
        found = statement["_type"], statement["predicateType"], statement["predicate"]
    except (ValueError, LookupError, TypeError):
        return "its provenance is no in-toto statement", None
    if found[:2] != (STATEMENT, PREDICATE) or not isinstance(found[2], dict):
        return f"its attestation is {str(found[1])[:80]!r}, not SLSA provenance", None
    return ("", found[2]) if subjects == {digest.hex} else ("its provenance is about another image", None)


def verify_image(registry: Registry, repository: str, digest: Digest, key: Verifier, store: BlobStore) -> Proven:
    """Verify the signature and the provenance of an image. Raises RegistryError."""
    faults = [fault] if (fault := verify_signature(registry, repository, digest, key, store)) else []
    predicate: Mapping[str, Any] | None = None
    sbom, bundle_faults = None, []
    for kind, manifest in _referring(registry, repository, digest):
        for descriptor, _annotations in _layers(manifest):
            if descriptor.size > _DOCUMENT_MOST:
                continue
            if kind == _CYCLONEDX:
                sbom = descriptor.digest
            elif kind == BUNDLE and predicate is None:
                registry.fetch_blob(repository, descriptor, store)
                fault, predicate = judge_bundle(store.read(descriptor.digest), digest, key)
                bundle_faults += [fault] if fault else []
    if predicate is None:
        faults.append(bundle_faults[0] if bundle_faults else "it has no signed provenance")
    return Proven(digest, tuple(faults), predicate, sbom)


def facts_of(provenance: Mapping[str, Any]) -> dict[str, str]:
    """What people look for in a provenance that was verified."""
    definition = provenance.get("buildDefinition", {})
    said = definition.get("externalParameters", {})
    found = {name: str(said[name])[:200] for name in ("function", "platform") if name in said}
    for each in definition.get("resolvedDependencies", []):
        digest = each.get("digest", {})
        found[str(each.get("name"))[:100]] = str(digest.get("gitCommit") or f"sha256:{digest.get('sha256')}")[:100]
    return found


def _referring(registry: Registry, repository: str, digest: Digest) -> Iterator[tuple[str, Manifest]]:
    """The artifacts that refer to an image, each with its type."""
    index = registry.find_referrers(repository, digest)
    try:
        entries = parse_json(index.content)["manifests"] if index is not None else []
        found = [(str(entry.get("artifactType", "")), parse_descriptor(entry)) for entry in entries[:_ARTIFACTS_MOST]]
    except (ValueError, LookupError, TypeError, AttributeError):
        return
    for kind, descriptor in found:
        manifest = registry.find_manifest(repository, descriptor.digest)
        if manifest is not None:
            yield kind, manifest


def _layers(manifest: Manifest) -> list[tuple[Descriptor, Mapping[str, Any]]]:
    try:
        layers = parse_json(manifest.content)["layers"]
        return [(parse_descriptor(each), each.get("annotations") or {}) for each in layers[:_ARTIFACTS_MOST]]
    except (ValueError, LookupError, TypeError, AttributeError):
        return []
