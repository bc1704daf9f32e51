"""The placeholder image, and the custom resource that pushes it into a repository through the ECR API.

A Lambda function cannot change from Zip to Image (``PackageType`` is create-only in its CloudFormation schema), so what
stands in for an image that was not built yet must itself be an image. This module makes that image byte for byte: at
synthesis for its digest, and inside the registry stack, where its own source is the inline code of a Lambda function,
for the push. At synthesis it needs the standard library only; the push uses the boto3 of Lambda's runtime.

Both sides must come to the same bytes under different versions of Python and zlib. Therefore the layer is gzip without
compression, whose bytes are fixed by RFC 1951 and 1952 alone and not by a compressor's choices.
"""

import contextlib
import hashlib
import json
import logging
import struct
import tarfile
import threading
import time
import urllib.request
import zlib
from typing import Any

OCI = "application/vnd.oci.image."
# PutImage is limited to 10 a second (Amazon ECR service quotas), and a stack's repositories are served side by side.
ATTEMPTS = 6
# IAM is eventually consistent: for some seconds the role of a new function may be refused.
PROPAGATION_SECONDS = 20
# Kept of the function's time for the answer to CloudFormation, which waits for one in vain if the function times out.
ANSWER_SECONDS = 15
MARK = "transaction-pipeline.placeholder"
CREATED = "1970-01-01T00:00:00Z"
# Lambda's name of an architecture → the OCI image specification's.
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


def push(properties: dict[str, Any]) -> dict[str, str]:
    """Push the placeholder into ``properties["RepositoryName"]``. What is already there counts as pushed.

    Returns the attributes of the custom resource. ``properties["Digest"]`` is the digest of synthesis: a difference is
    a ValueError, because the pipeline stack would name an image that does not exist. So is a tag that names another
    image. Raises botocore's errors after ATTEMPTS.
    """
    import boto3
    from botocore.config import Config

    repository = properties["RepositoryName"]
    manifest, blobs = make_image(properties["Architecture"])
    digest = digest_of(manifest)
    tag = placeholder_tag(digest)
    if properties.get("Digest", digest) != digest:
        raise ValueError(f"the image is {digest}, the template expects {properties['Digest']}")
    retries: Any = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    ecr: Any = boto3.client("ecr", config=Config(connect_timeout=5, read_timeout=10, retries=retries))
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
    try:
        ecr.put_image(
            repositoryName=repository,
            imageManifest=manifest.decode(),
            imageManifestMediaType=OCI + "manifest.v1+json",
            imageTag=tag,
            imageDigest=digest,
        )
    except (ecr.exceptions.ImageAlreadyExistsException, ecr.exceptions.ImageTagAlreadyExistsException):
        # The same image and tag again: the second where tags are immutable.
        found = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        existing = found["imageDetails"][0]["imageDigest"]
        if existing != digest:
            raise ValueError(f"the tag {tag} of {repository} is {existing}, not {digest}: delete that tag") from None
    return {"Digest": digest}


def push_when_allowed(properties: dict[str, Any]) -> dict[str, str]:
    """``push``, repeated for PROPAGATION_SECONDS while IAM does not know the function's permissions yet."""
    from botocore.exceptions import ClientError

    until = time.monotonic() + PROPAGATION_SECONDS
    while True:
        try:
            return push(properties)
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDeniedException" or time.monotonic() > until:
                raise
            logging.warning("The push is repeated after: %s", error)
        time.sleep(2)


def respond(url: str, answer: dict[str, Any]) -> None:
    """Answer CloudFormation. A failure is raised, so that Lambda's own retries of the event answer again."""
    # The address is signed for a request without a content type; urllib would add one.
    request = urllib.request.Request(url, json.dumps(answer).encode(), {"Content-Type": ""}, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        response.read()


def handle(event: dict[str, Any]) -> dict[str, Any]:
    """What is answered beside the ids: Create and Update push, Delete keeps the image for what still runs it."""
    try:
        kind = event["RequestType"]
        if kind in ("Create", "Update"):
            return {"Status": "SUCCESS", "Data": push_when_allowed(event["ResourceProperties"])}
        if kind != "Delete":
            raise ValueError(f"RequestType is {kind!r}")
    # Any failure: without an answer the stack waits until its timeout.
    except Exception as error:
        logging.exception("The placeholder was not pushed.")
        # A response has at most 4,096 bytes (CloudFormation's custom resource reference).
        return {"Status": "FAILED", "Reason": f"{type(error).__name__}: {error}"[:1000]}
    return {"Status": "SUCCESS"}


def handler(event: Any, context: Any) -> None:
    """The custom resource. Every event with a ResponseURL is answered, and before the function's time is up."""
    logging.getLogger().setLevel(logging.INFO)
    if not isinstance(event, dict) or not event.get("ResponseURL"):
        logging.error("An event without ResponseURL cannot be answered.")
        return
    logical_id = event.get("LogicalResourceId", "")
    answer = {
        # Stable for the life of the resource: another id would make CloudFormation delete the old one.
        "PhysicalResourceId": event.get("PhysicalResourceId") or f"placeholder-{logical_id}",
        "StackId": event.get("StackId", ""),
        "RequestId": event.get("RequestId", ""),
        "LogicalResourceId": logical_id,
        "Status": "FAILED",
        "Reason": "the push did not end within the function's time",
    }
    handled: list[dict[str, Any]] = []
    worker = threading.Thread(target=lambda: handled.append(handle(event)), daemon=True)
    worker.start()
    worker.join(context.get_remaining_time_in_millis() / 1000 - ANSWER_SECONDS)
    if handled:
        del answer["Reason"]
        answer.update(handled[0])
    respond(event["ResponseURL"], answer)
