"""The placeholder image, and the custom resource that pushes it into a repository through the ECR API.

A Lambda function cannot change from Zip to Image (``PackageType`` is create-only in its CloudFormation schema), so what
stands in for an image that nobody has built yet must itself be an image. This module makes that image byte for byte:
at synthesis for its digest, and inside the registry stack, where its own source is the inline code of a Lambda
function, for the push. So it imports the standard library only, and boto3 no earlier than in the handler.

Both sides must come to the same bytes under different versions of Python and zlib. Therefore the layer is gzip without
compression, whose bytes are fixed by RFC 1951 and 1952 alone and not by a compressor's choices.
"""

import contextlib
import hashlib
import json
import logging
import struct
import tarfile
import urllib.request
import zlib
from typing import Any

OCI = "application/vnd.oci.image."
MARK = "transaction-pipeline.placeholder"
CREATED = "1970-01-01T00:00:00Z"
# Lambda's names of its architectures, and the image specification's.
PLATFORMS = {"arm64": "arm64", "x86_64": "amd64"}
# Not a program: Lambda accepts the image and fails an invocation with Runtime.InvalidEntrypoint.
NOTE = b"This image stands in for one that was not built yet. Deploy the function to replace it.\n"


def gzip_stored(content: bytes) -> bytes:
    """``content`` (up to 65,535 bytes) as gzip with one stored block: RFC 1952 and RFC 1951, section 3.2.4."""
    size = len(content)
    block = struct.pack("<BHH", 1, size, size ^ 0xFFFF) + content
    return bytes.fromhex("1f8b08000000000000ff") + block + struct.pack("<II", zlib.crc32(content), size)


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def canonical_json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def make_image(architecture: str) -> tuple[bytes, list[bytes]]:
    """The manifest and the blobs that it names (config, layer) for a Lambda architecture: "arm64" or "x86_64".

    Raises ValueError for another architecture. The same bytes for the same architecture, always.
    """
    if architecture not in PLATFORMS:
        raise ValueError(f"an architecture is one of {', '.join(PLATFORMS)}, saw: {architecture!r}")
    entry = tarfile.TarInfo("placeholder")
    entry.size, entry.mode = len(NOTE), 0o755
    # POSIX.1-1988: a header, the content filled up to blocks of 512 bytes, two empty blocks.
    tar = entry.tobuf(tarfile.USTAR_FORMAT) + NOTE.ljust(-(-len(NOTE) // 512) * 512, b"\0") + bytes(1024)
    layer = gzip_stored(tar)
    marks = {MARK: "true"}
    config = canonical_json(
        {
            "architecture": PLATFORMS[architecture],
            "os": "linux",
            "created": CREATED,
            "config": {"Entrypoint": ["/placeholder"], "Labels": marks},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]},
            "history": [{"created": CREATED, "created_by": "placeholder"}],
        }
    )
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI + "manifest.v1+json",
            "config": {"mediaType": OCI + "config.v1+json", "digest": digest_of(config), "size": len(config)},
            "layers": [
                {"mediaType": OCI + "layer.v1.tar+gzip", "digest": digest_of(layer), "size": len(layer)},
            ],
            "annotations": marks,
        }
    )
    return manifest, [config, layer]


def placeholder_digest(architecture: str) -> str:
    """``sha256:…`` of the placeholder for a Lambda architecture: what the pipeline stack falls back to."""
    return digest_of(make_image(architecture)[0])


def placeholder_tag(digest: str) -> str:
    """The tag that keeps the image from being untagged; it names its content, so it never has to move."""
    return f"placeholder-{digest[7:19]}"


def push(ecr: Any, properties: dict[str, Any]) -> dict[str, str]:
    """Push the placeholder into ``properties["RepositoryName"]``; what is there already counts as pushed.

    Returns the attributes of the custom resource. ``properties["Digest"]`` is the digest that synthesis came to: a
    difference is an error, because the pipeline stack would then name an image that does not exist.
    """
    repository = properties["RepositoryName"]
    manifest, blobs = make_image(properties["Architecture"])
    digest = digest_of(manifest)
    if properties.get("Digest", digest) != digest:
        raise ValueError(f"the image is {digest}, the template expects {properties['Digest']}")
    for blob in blobs:
        upload = ecr.initiate_layer_upload(repositoryName=repository)["uploadId"]
        ecr.upload_layer_part(
            repositoryName=repository,
            uploadId=upload,
            partFirstByte=0,
            partLastByte=len(blob) - 1,
            layerPartBlob=blob,
        )
        with contextlib.suppress(ecr.exceptions.LayerAlreadyExistsException):
            ecr.complete_layer_upload(repositoryName=repository, uploadId=upload, layerDigests=[digest_of(blob)])
    with contextlib.suppress(ecr.exceptions.ImageAlreadyExistsException):
        ecr.put_image(
            repositoryName=repository,
            imageManifest=manifest.decode(),
            imageManifestMediaType=OCI + "manifest.v1+json",
            imageTag=placeholder_tag(digest),
            imageDigest=digest,
        )
    return {"Digest": digest}


def respond(url: str, answer: dict[str, Any]) -> None:
    """Answer CloudFormation. A failure is raised, so that Lambda's own retries of the event answer again."""
    # The address is signed for a request without a content type; urllib would add one.
    request = urllib.request.Request(url, json.dumps(answer).encode(), {"Content-Type": ""}, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        response.read()


def handler(event: Any, _context: Any) -> None:
    """The custom resource: Create and Update push, Delete keeps the image for whoever still runs it.

    Every event that says where to answer is answered, also when it or the push is wrong.
    """
    logging.getLogger().setLevel(logging.INFO)
    if not isinstance(event, dict) or not event.get("ResponseURL"):
        logging.error("An event without ResponseURL cannot be answered.")
        return
    logical_id = event.get("LogicalResourceId", "")
    answer = {
        "Status": "SUCCESS",
        # Stable for the life of the resource: another id would make CloudFormation delete the old one.
        "PhysicalResourceId": event.get("PhysicalResourceId") or f"placeholder-{logical_id}",
        "StackId": event.get("StackId", ""),
        "RequestId": event.get("RequestId", ""),
        "LogicalResourceId": logical_id,
    }
    try:
        kind = event["RequestType"]
        if kind in ("Create", "Update"):
            import boto3
            from botocore.config import Config

            # PutImage is limited to 10 a second, and the repositories of a stack are served side by side.
            ecr = boto3.client("ecr", config=Config(retries={"mode": "standard", "max_attempts": 8}))
            answer["Data"] = push(ecr, event["ResourceProperties"])
        elif kind != "Delete":
            raise ValueError(f"RequestType is {kind!r}")
    # Whatever it was: a stack that is not answered hangs until its timeout.
    except Exception as error:
        logging.exception("The placeholder was not pushed.")
        # A response has at most 4,096 bytes (CloudFormation's custom resource reference).
        answer.update(Status="FAILED", Reason=f"{type(error).__name__}: {error}"[:1000])
    respond(event["ResponseURL"], answer)
