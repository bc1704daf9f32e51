from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from cfn import placeholder
from cfn.registry import placeholder_source
from cfn.settings import Architecture
from tests.servers.ecr_api import Answer, EcrApi, ecr_api


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("architecture", Architecture)
def test_image_is_a_complete_oci_image_of_its_architecture(architecture: Architecture) -> None:
    manifest, (config, layer) = placeholder.make_image(architecture)
    said = json.loads(manifest)
    assert said["schemaVersion"] == 2
    assert said["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert said["config"] == {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": digest_of(config),
        "size": len(config),
    }
    assert said["layers"] == [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": digest_of(layer),
            "size": len(layer),
        }
    ]
    document = json.loads(config)
    assert (document["os"], document["architecture"]) == ("linux", architecture.oci)
    assert document["rootfs"] == {"type": "layers", "diff_ids": [digest_of(gzip.decompress(layer))]}
    assert document["config"]["Labels"] == {"transaction-pipeline.placeholder": "true"}


def test_entrypoint_is_a_file_of_the_layer_that_anybody_may_read() -> None:
    _, (config, layer) = placeholder.make_image("arm64")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as tar:
        (member,) = tar.getmembers()
    assert json.loads(config)["config"]["Entrypoint"] == [f"/{member.name}"]
    assert member.isreg()
    assert member.mode == 0o755


def test_digests_are_fixed_for_ever() -> None:
    # A change here pushes new placeholders into every repository; it must be meant.
    assert {str(each): placeholder.placeholder_digest(each) for each in Architecture} == {
        "arm64": "sha256:f3cb448657db9655f615746f25163b2547f2ebeb95d650f02c66f66bb7787230",
        "x86_64": "sha256:0dc514164a0773763e922d807fe07ab441fbf584ba9d6be69181aa590d1698c1",
    }


def test_unknown_architecture_is_named() -> None:
    with pytest.raises(ValueError, match="arm64, x86_64, saw: 'sparc'"):
        placeholder.make_image("sparc")


@given(st.binary(max_size=65_535))
def test_stored_gzip_is_gzip(content: bytes) -> None:
    packed = placeholder.gzip_stored(content)
    assert gzip.decompress(packed) == content
    assert zlib.decompress(packed, wbits=31) == content


def test_inline_source_runs_with_the_standard_library_only_and_comes_to_the_same_digests() -> None:
    # -S leaves out site-packages, -I the current folder: what is left is what Lambda's runtime has at the least.
    code = placeholder_source() + "\nprint(placeholder_digest('arm64'), placeholder_digest('x86_64'))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == [placeholder.placeholder_digest(each) for each in Architecture]


def test_inline_source_has_nothing_that_only_people_read() -> None:
    source = placeholder_source()
    assert '"""' not in source
    assert "#" not in source.replace('"#', "")
    assert "\n\n" not in source
    compile(source, "index.py", "exec")


PROPERTIES: dict[str, Any] = {"RepositoryName": "fraud-dev", "Architecture": "arm64"}
DIGEST = placeholder.placeholder_digest("arm64")
UPLOAD = ["InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload"]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[EcrApi]:
    """ECR, in the environment that Lambda gives a function."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with ecr_api() as served:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", served.url)
        yield served


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been slept; the clock advances by them."""
    pauses: list[float] = []
    start = time.monotonic()
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(time, "monotonic", lambda: start + sum(pauses))
    return pauses


def tagged(digest: str) -> Answer:
    return Answer(200, json.dumps({"imageDetails": [{"imageDigest": digest}]}).encode())


def test_push_sends_config_layer_and_manifest_under_a_tag(api: EcrApi) -> None:
    manifest, blobs = placeholder.make_image("arm64")
    assert placeholder.push({**PROPERTIES, "Digest": DIGEST}) == {"Digest": DIGEST}
    assert api.operations == [*UPLOAD, *UPLOAD, "PutImage"]
    assert [each["layerPartBlob"] for name, each in api.asked if name == "UploadLayerPart"] == blobs
    assert [each["layerDigests"] for name, each in api.asked if name == "CompleteLayerUpload"] == [
        [digest_of(blob)] for blob in blobs
    ]
    assert api.asked[-1][1] == {
        "repositoryName": "fraud-dev",
        "imageManifest": manifest.decode(),
        "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json",
        "imageTag": f"placeholder-{DIGEST[7:19]}",
        "imageDigest": DIGEST,
    }


@pytest.mark.parametrize("code", ["ImageAlreadyExistsException", "ImageTagAlreadyExistsException"])
def test_an_image_that_is_already_there_counts_as_pushed(api: EcrApi, code: str) -> None:
    api.script = {
        "CompleteLayerUpload": [Answer.error("LayerAlreadyExistsException")] * 2,
        "PutImage": [Answer.error(code)],
        "DescribeImages": [tagged(DIGEST)],
    }
    assert placeholder.push(PROPERTIES) == {"Digest": DIGEST}
    assert api.asked[-1] == (
        "DescribeImages",
        {"repositoryName": "fraud-dev", "imageIds": [{"imageTag": f"placeholder-{DIGEST[7:19]}"}]},
    )


@pytest.mark.parametrize("code", ["ImageAlreadyExistsException", "ImageTagAlreadyExistsException"])
def test_a_tag_that_names_another_image_is_an_error(api: EcrApi, code: str) -> None:
    other = "sha256:" + "0" * 64
    api.script = {"PutImage": [Answer.error(code)], "DescribeImages": [tagged(other)]}
    with pytest.raises(ValueError, match=f"tag placeholder-{DIGEST[7:19]} of fraud-dev is {other}, not {DIGEST}"):
        placeholder.push(PROPERTIES)


def test_push_refuses_when_synthesis_came_to_another_digest(api: EcrApi) -> None:
    with pytest.raises(ValueError, match="the template expects sha256:0000"):
        placeholder.push({**PROPERTIES, "Digest": "sha256:0000"})
    assert api.asked == []


@pytest.mark.parametrize(
    "bad",
    [
        Answer.error("ThrottlingException"),
        Answer.error("ServerException", 500),
        Answer(503, b"<html>busy</html>"),
        Answer(0),
    ],
    ids=["throttled", "server", "proxy", "closed"],
)
def test_a_transient_failure_is_retried(api: EcrApi, slept: list[float], bad: Answer) -> None:
    api.script = {"PutImage": [bad, bad, bad]}
    assert placeholder.push(PROPERTIES) == {"Digest": DIGEST}
    assert api.operations.count("PutImage") == 4
    assert len(slept) == 3


def test_retries_end_and_within_the_functions_time(api: EcrApi, slept: list[float]) -> None:
    api.script = {"InitiateLayerUpload": [Answer.error("ThrottlingException")] * 20}
    with pytest.raises(ClientError, match="ThrottlingException"):
        placeholder.push(PROPERTIES)
    assert api.operations == ["InitiateLayerUpload"] * placeholder.ATTEMPTS
    assert sum(slept) < 60 - placeholder.ANSWER_SECONDS


@pytest.mark.parametrize("code", ["RepositoryNotFoundException", "InvalidSignatureException"])
def test_a_refusal_is_not_retried(api: EcrApi, slept: list[float], code: str) -> None:
    api.script = {"InitiateLayerUpload": [Answer.error(code)]}
    with pytest.raises(ClientError, match=code):
        placeholder.push_when_allowed(PROPERTIES)
    assert api.operations == ["InitiateLayerUpload"]
    assert slept == []


@pytest.mark.parametrize("operation", [*UPLOAD, "PutImage"])
def test_a_role_that_is_not_known_yet_is_waited_for(api: EcrApi, slept: list[float], operation: str) -> None:
    api.script = {operation: [Answer.error("AccessDeniedException")] * 5}
    assert placeholder.push_when_allowed(PROPERTIES) == {"Digest": DIGEST}
    assert slept == [2] * 5


def test_a_role_that_stays_refused_is_an_error_after_twenty_seconds(api: EcrApi, slept: list[float]) -> None:
    api.script = {"InitiateLayerUpload": [Answer.error("AccessDeniedException")] * 50}
    with pytest.raises(ClientError, match="AccessDeniedException"):
        placeholder.push_when_allowed(PROPERTIES)
    assert 20 <= sum(slept) <= 24


# -- what CloudFormation is answered


class Context:
    """Of an invocation that may run for so many seconds more."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(placeholder, "respond", lambda _url, answer: found.append(answer))
    return found


EVENT = {
    "RequestType": "Create",
    "ResponseURL": "https://cloudformation.example/answer",
    "LogicalResourceId": "FraudDetectionPlaceholder",
    "ResourceProperties": PROPERTIES,
}


def test_a_push_in_time_is_answered_with_its_digest(api: EcrApi, answered: list[dict[str, Any]]) -> None:
    placeholder.handler(EVENT, Context(60))
    [answer] = answered
    assert (answer["Status"], answer["Data"]) == ("SUCCESS", {"Digest": DIGEST})
    assert "Reason" not in answer


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A push that does not end during the test."""
    ended = threading.Event()
    monkeypatch.setattr(placeholder, "push", lambda _properties: {"late": str(ended.wait())})
    before = set(threading.enumerate())
    yield
    ended.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()


@pytest.mark.usefixtures("hanging")
@pytest.mark.parametrize("seconds", [placeholder.ANSWER_SECONDS + 0.2, placeholder.ANSWER_SECONDS, 3])
def test_a_push_that_takes_too_long_is_answered_before_the_time_is_up(
    answered: list[dict[str, Any]], seconds: float
) -> None:
    placeholder.handler(EVENT, Context(seconds))
    [answer] = answered
    assert (answer["Status"], answer["Reason"]) == ("FAILED", "the push did not end within the function's time")
    assert answer["PhysicalResourceId"] == "placeholder-FraudDetectionPlaceholder"
