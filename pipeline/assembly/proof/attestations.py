"""Signatures and provenance as registries keep them beside an image, and cosign reads them.

- The signature is an OCI manifest under the tag ``sha256-<hex>.sig`` whose layer is a "simple signing" payload with the
  signature as an annotation (cosign, SIGNATURE_SPEC.md). It names the image as its subject, too.
- The signed provenance is a referrer that holds a Sigstore bundle with a DSSE envelope (cosign, BUNDLE_SPEC.md;
  Sigstore bundle v0.3; secure-systems-lab, DSSE). Unsigned, it is a referrer that holds the statement itself.
"""

from __future__ import annotations

import base64
from typing import Any

from pipeline.assembly.image import canonical_json, document
from pipeline.assembly.model import Image
from pipeline.assembly.proof.provenance import IN_TOTO, PREDICATE
from pipeline.assembly.proof.signing import Signer
from pipeline.assembly.referrers import make_referrer
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import OCI_EMPTY, OCI_MANIFEST, Artifact, Descriptor, Digest, Manifest

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
PAYLOAD_TYPE = "cosign container image signature"


def signature_tag(digest: Digest) -> str:
    """Where cosign looks for the signatures of an image."""
    return f"sha256-{digest.hex}.sig"


def signature_payload(digest: Digest, repository_uri: str) -> bytes:
    """What is signed: the digest of an image, and the repository in which its signer put it."""
    return canonical_json(
        {
            "critical": {
                "identity": {"docker-reference": repository_uri},
                "image": {"docker-manifest-digest": str(digest)},
                "type": PAYLOAD_TYPE,
            },
            "optional": None,
        }
    )


def sign_image(image: Image, repository_uri: str, signer: Signer, store: BlobStore) -> Artifact:
    """The signature of an image in a repository; its blobs are in ``store``."""
    payload = signature_payload(image.digest, repository_uri)
    layer = Descriptor(SIMPLE_SIGNING, store.add(payload), len(payload))
    empty = Descriptor(OCI_EMPTY, store.add(b"{}"), 2)
    signature = base64.b64encode(signer.sign(payload)).decode()
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": SIGNATURE,
            "config": document(empty),
            "layers": [document(layer) | {"annotations": {SIGNATURE_ANNOTATION: signature}}],
            "subject": document(Descriptor(image.manifest_media_type, image.digest, len(image.manifest))),
        }
    )
    return Artifact(Manifest(manifest, OCI_MANIFEST), SIGNATURE, (empty, layer), signature_tag(image.digest))


def attest(image: Image, statement: bytes, signer: Signer | None, store: BlobStore) -> Artifact:
    """A statement about an image as a referrer, signed if there is a signer; its blobs are in ``store``."""
    annotations = {"dev.sigstore.bundle.predicateType": PREDICATE}
    if signer is None:
        return make_referrer(image, IN_TOTO, statement, store, annotations)
    annotations["dev.sigstore.bundle.content"] = "dsse-envelope"
    return make_referrer(image, BUNDLE, canonical_json(make_bundle(statement, signer)), store, annotations)


def make_bundle(statement: bytes, signer: Signer) -> dict[str, Any]:
    """A Sigstore bundle around a signed statement. There is no entry of a transparency log in it."""
    signature = base64.b64encode(signer.sign(pre_authentication(IN_TOTO, statement))).decode()
    return {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": signer.verifier.hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(statement).decode(),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": signature, "keyid": ""}],
        },
    }


def pre_authentication(kind: str, payload: bytes) -> bytes:
    """What is signed of an envelope: its type and payload, each with its length (DSSE, protocol.md, PAE)."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)
