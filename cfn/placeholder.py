"""The placeholder image, and the custom resource that pushes it into a repository through the ECR API.

A Lambda function cannot change from Zip to Image (``PackageType`` is create-only in its CloudFormation schema), so what
stands in for an image that nobody has built yet must itself be an image. This module makes that image byte for byte:
at synthesis for its digest, and inside the registry stack, where its own source is the inline code of a Lambda
function, for the push. So it imports the standard library only. Not boto3 either: importing it takes four times as long
as all that this function does, and the runtime's version of it is nobody's choice.

Both sides must come to the same bytes under different versions of Python and zlib. Therefore the layer is gzip without
compression, whose bytes are fixed by RFC 1951 and 1952 alone and not by a compressor's choices.
"""

import base64
import hashlib
import hmac
import http.client
import json
import logging
import os
import random
import struct
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from typing import Any

OCI = "application/vnd.oci.image."
# The ECR API's name in its own protocol, AWS JSON 1.1.
TARGET = "AmazonEC2ContainerRegistry_V20150921."
ATTEMPTS = 6
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


class EcrError(Exception):
    """ECR's answer to a request that it refused: its code and its message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.passes = status >= 500 or status == 429 or "hrottl" in code


def sign(url: str, operation: str, body: bytes, moment: time.struct_time) -> dict[str, str]:
    """The headers of a request to ECR, signed with the function's credentials (IAM guide, "AWS Signature V4")."""
    date = time.strftime("%Y%m%dT%H%M%SZ", moment)
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": urllib.parse.urlsplit(url).netloc,
        "x-amz-date": date,
        "x-amz-target": TARGET + operation,
    }
    if os.environ.get("AWS_SESSION_TOKEN"):
        headers["x-amz-security-token"] = os.environ["AWS_SESSION_TOKEN"]
    names = sorted(headers)
    lines = ["POST", "/", "", *(f"{name}:{headers[name]}" for name in names), "", ";".join(names)]
    request = "\n".join([*lines, hashlib.sha256(body).hexdigest()])
    scope = f"{date[:8]}/{os.environ['AWS_REGION']}/ecr/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={';'.join(names)}, Signature={key.hex()}"
    )
    return headers


def send(url: str, operation: str, body: bytes) -> dict[str, Any]:
    """One request. Raises EcrError for a refusal, OSError and HTTPException when no whole answer comes."""
    headers = sign(url, operation, body, time.gmtime())
    try:
        with urllib.request.urlopen(  # noqa: S310
            urllib.request.Request(url, body, headers, method="POST"),  # noqa: S310
            timeout=10,
        ) as response:
            return dict(json.loads(response.read()))
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        try:
            said = dict(json.loads(text))
        except (ValueError, TypeError):
            said = {"message": text[:200]}
        code = str(said.get("__type", f"HTTP {error.code}")).rpartition("#")[2]
        raise EcrError(error.code, code, said.get("message") or said.get("Message") or error.reason) from None


def ask(operation: str, *settled: str, **parameters: Any) -> dict[str, Any]:
    """What ECR answers; nothing where it refuses with a code of ``settled``.

    Throttling, server errors and lost connections are tried again: PutImage is limited to 10 a second, and the
    repositories of a stack are served side by side.
    """
    url = os.environ.get("AWS_ENDPOINT_URL_ECR") or os.environ.get("AWS_ENDPOINT_URL") or os.environ["ECR_ENDPOINT"]
    body = json.dumps(parameters).encode()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return send(url, operation, body)
        except (EcrError, OSError, http.client.HTTPException) as error:
            if isinstance(error, EcrError) and error.code in settled:
                return {}
            if attempt == ATTEMPTS or (isinstance(error, EcrError) and not error.passes):
                raise
            logging.warning("%s is tried again after: %s", operation, error)
        time.sleep(random.uniform(0, 2 ** (attempt - 1)))  # noqa: S311
    raise AssertionError("the last attempt returns or raises")


def push(properties: dict[str, Any]) -> dict[str, str]:
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
        upload = ask("InitiateLayerUpload", repositoryName=repository)["uploadId"]
        ask(
            "UploadLayerPart",
            repositoryName=repository,
            uploadId=upload,
            partFirstByte=0,
            partLastByte=len(blob) - 1,
            layerPartBlob=base64.b64encode(blob).decode(),
        )
        ask(
            "CompleteLayerUpload",
            "LayerAlreadyExistsException",
            repositoryName=repository,
            uploadId=upload,
            layerDigests=[digest_of(blob)],
        )
    ask(
        "PutImage",
        "ImageAlreadyExistsException",
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
            answer["Data"] = push(event["ResourceProperties"])
        elif kind != "Delete":
            raise ValueError(f"RequestType is {kind!r}")
    # Whatever it was: a stack that is not answered hangs until its timeout.
    except Exception as error:
        logging.exception("The placeholder was not pushed.")
        # A response has at most 4,096 bytes (CloudFormation's custom resource reference).
        answer.update(Status="FAILED", Reason=f"{type(error).__name__}: {error}"[:1000])
    respond(event["ResponseURL"], answer)
