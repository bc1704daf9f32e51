"""Checks of the deployed images, and of Lambda's permission to pull them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from botocore.exceptions import ClientError

from cfn.names import image_parameter
from pipeline.assembly.check import find_findings
from pipeline.core.aws_answers import error_code
from pipeline.core.errors import NextStep
from pipeline.doctor.keys import allows_service
from pipeline.doctor.situation import Situation
from pipeline.doctor.verdict import Verdict, combine, error, ok
from pipeline.ledger.stored_images import restore_command
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import parse_descriptor
from pipeline.oci.values import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, ImageReference, Manifest
from pipeline.target import host_platform_of_functions

# The actions that Lambda needs on a repository (AWS Lambda developer guide, "Create a function using a container
# image").
PULLING = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")


def check_images(situation: Situation) -> Verdict:
    """Every image in the parameters of the pipeline stack exists and meets Lambda's requirements.

    Reads manifest and config only; the layers were checked before the push.
    """
    state = situation.pipeline.state
    if state.status.gone:
        return ok("no function is deployed yet")
    images = {
        source.name: state.parameters[image_parameter(source.name)]
        for source in situation.sources
        if state.parameters.get(image_parameter(source.name))
    }
    return combine(
        (verdict for name, uri in images.items() for verdict in _judge(situation, name, uri)),
        "every function runs its placeholder",
    )


def _judge(situation: Situation, function: str, uri: str) -> Iterator[Verdict]:
    again = NextStep("Rebuild and push the image", ("up",))
    try:
        reference = ImageReference.parse(uri)
    except ValueError as problem:
        yield error(f"the image URI of {function} is invalid: {problem}", again)
        return
    region = reference.registry.split(".")[3] if reference.registry.count(".") >= 5 else ""
    if region != situation.target.region:
        yield error(
            f"the image of {function} is in region {region or '?'}, but Lambda pulls only from its own region,"
            f" {situation.target.region}",
            again,
        )
        return
    manifest = _find_manifest(situation, reference)
    if isinstance(manifest, str):
        restore = restore_command(reference.repository, str(reference.digest))
        yield error(
            f"the image of {function} cannot be pulled: {manifest}", f"Restore it if it was archived: {restore}"
        )
        return
    if manifest is None:
        yield error(f"the image {reference.digest} of {function} is missing from {reference.repository}", again)
        return
    config = b"" if manifest.is_index else _fetch_config(situation, reference, manifest)
    expected = host_platform_of_functions() if situation.target.is_local else None
    findings = list(find_findings(manifest, config or None, _no_layers(manifest), expected))
    for finding in findings:
        yield error(f"Lambda would reject the image of {function}: {finding.message}", finding.cure)
    if not findings and not situation.target.is_local:
        found, wanted = json.loads(config).get("architecture"), situation.settings.architecture.oci
        if found != wanted:
            yield error(f"the image of {function} is for {found}, but the function runs on {wanted}", again)
            return
    if not findings:
        yield ok(f"Lambda accepts {function} {str(reference.digest)[:19]}")


def _find_manifest(situation: Situation, reference: ImageReference) -> Manifest | str | None:
    """The manifest; None if there is none; why ECR does not give it, which is so for an archived image."""
    try:
        answer = situation.client("ecr").batch_get_image(
            repositoryName=reference.repository,
            imageIds=[{"imageDigest": str(reference.digest)}],
            acceptedMediaTypes=[OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX],
        )
    except ClientError as problem:
        if error_code(problem) == "RepositoryNotFoundException":
            return None
        raise
    for image in answer["images"]:
        return Manifest(image["imageManifest"].encode(), image["imageManifestMediaType"])
    for failure in answer.get("failures", []):
        if failure.get("failureCode") != "ImageNotFound":
            return f"{failure.get('failureCode')}: {failure.get('failureReason', 'no reason')}"
    return None


def _fetch_config(situation: Situation, reference: ImageReference, manifest: Manifest) -> bytes:
    descriptor = parse_descriptor(json.loads(manifest.content)["config"])
    with tempfile.TemporaryDirectory(prefix="doctor-") as folder:
        store = BlobStore(Path(folder))
        situation.target.registry(reference.registry).fetch_blob(reference.repository, descriptor, store)
        return store.read(descriptor.digest)


def _no_layers(manifest: Manifest) -> list[None]:
    return [None for _ in json.loads(manifest.content).get("layers", [])]


def check_blob_mounting(situation: Situation) -> Verdict:
    """Whether the account's repositories share layers. Without it each push of a shared layer is an upload.

    Source: ECR user guide, "Blob mounting": an account opts in with its setting BLOB_MOUNTING.
    """
    value = situation.client("ecr").get_account_setting(name="BLOB_MOUNTING").get("value", "")
    if value == "ENABLED":
        return ok("layers that another repository has are mounted instead of uploaded")
    return ok(
        f"{value or 'DISABLED'}: each repository gets its own copy of shared layers; to share them:"
        " aws ecr put-account-setting --name BLOB_MOUNTING --value ENABLED"
    )


def check_repository_policies(situation: Situation) -> Verdict:
    """Each existing repository allows Lambda to pull."""
    return combine(_policies(situation), "no repository exists yet; the stack allows Lambda to pull from them")


def _policies(situation: Situation) -> Iterator[Verdict]:
    stack = situation.registry
    for _, logical_id, properties in situation.resources("AWS::ECR::Repository"):
        if logical_id not in stack.resources:
            continue
        name = properties["RepositoryName"]
        cure = (
            "Restore the policy of the template, which `synth --out DIR` writes: aws ecr"
            f" set-repository-policy --repository-name {name}"
        )
        try:
            text = situation.client("ecr").get_repository_policy(repositoryName=name)["policyText"]
        except ClientError as problem:
            code = error_code(problem)
            if code == "RepositoryNotFoundException":
                yield error(
                    f"the repository {name} was deleted outside its stack",
                    NextStep("Delete the stacks and deploy again", ("down",), ("up",)),
                )
                continue
            if code != "RepositoryPolicyNotFoundException":
                raise
            yield error(f"the repository {name} has no policy, so Lambda cannot pull", cure)
            continue
        lacking = [action for action in PULLING if not allows_service(json.loads(text), "lambda.amazonaws.com", action)]
        if lacking:
            yield error(f"the repository {name} does not allow Lambda {', '.join(lacking)}", cure)
        else:
            yield ok(f"{name} allows Lambda to pull")
