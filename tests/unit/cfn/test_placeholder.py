from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
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
UPLOAD = ["InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload"]


def be_the_function(monkeypatch: pytest.MonkeyPatch, api: EcrApi) -> list[float]:
    """The environment that Lambda gives, with ECR at ``api``; the seconds that would have been slept."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", api.credentials.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", api.credentials.secret_key)
    if api.credentials.token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", api.credentials.token)
    monkeypatch.setenv("ECR_ENDPOINT", api.url)
    return slept


@pytest.fixture(params=[None, "a/session+token=="], ids=["key", "session"])
def api(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[EcrApi]:
    with ecr_api(token=request.param) as served:
        be_the_function(monkeypatch, served)
        yield served


def test_push_sends_config_layer_and_manifest_under_a_tag(api: EcrApi) -> None:
    manifest, blobs = placeholder.make_image("arm64")
    digest = placeholder.placeholder_digest("arm64")
    assert placeholder.push({**PROPERTIES, "Digest": digest}) == {"Digest": digest}
    assert api.operations == [*UPLOAD, *UPLOAD, "PutImage"]
    assert [each["layerPartBlob"] for name, each in api.asked if name == "UploadLayerPart"] == blobs
    assert [each["layerDigests"] for name, each in api.asked if name == "CompleteLayerUpload"] == [
        [digest_of(blob)] for blob in blobs
    ]
    assert api.asked[-1][1] == {
        "repositoryName": "fraud-dev",
        "imageManifest": manifest.decode(),
        "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json",
        "imageTag": f"placeholder-{digest[7:19]}",
        "imageDigest": digest,
    }
    assert api.findings == []


def test_the_server_of_these_tests_sees_another_signature(api: EcrApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    placeholder.ask("InitiateLayerUpload", repositoryName="fraud-dev", surplus=1)
    assert api.findings == [
        "InitiateLayerUpload: there is no member surplus",
        "InitiateLayerUpload: another signature",
    ]


def test_push_counts_what_is_there_as_pushed(api: EcrApi) -> None:
    api.script = {
        "CompleteLayerUpload": [Answer.error("LayerAlreadyExistsException")] * 2,
        # As services of the same protocol name their errors, too.
        "PutImage": [Answer.error("com.amazonaws.ecr#ImageAlreadyExistsException")],
    }
    assert placeholder.push(PROPERTIES) == {"Digest": placeholder.placeholder_digest("arm64")}
    assert api.operations == [*UPLOAD, *UPLOAD, "PutImage"]


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
        Answer(429),
        Answer(0),
        Answer(200, b'{"uploadId": "3f0', missing=20),
    ],
    ids=["throttled", "server", "proxy", "too many", "closed", "half"],
)
def test_what_passes_is_tried_again(bad: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    with ecr_api() as api:
        slept = be_the_function(monkeypatch, api)
        api.script = {"PutImage": [bad, bad, bad]}
        assert placeholder.push(PROPERTIES) == {"Digest": placeholder.placeholder_digest("arm64")}
        assert api.operations.count("PutImage") == 4
        assert api.findings == []
    assert len(slept) == 3
    assert all(each <= limit for each, limit in zip(slept, (1, 2, 4), strict=True))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (Answer.error("ThrottlingException"), "ThrottlingException: told by the test"),
        (Answer(503, b"<html>busy</html>"), "HTTP 503: <html>busy</html>"),
        (Answer(0), "without response"),
    ],
    ids=["throttled", "proxy", "closed"],
)
def test_what_does_not_pass_is_given_up(bad: Answer, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ecr_api() as api:
        slept = be_the_function(monkeypatch, api)
        api.script = {"InitiateLayerUpload": [bad] * 20}
        with pytest.raises(Exception, match=said):
            placeholder.push(PROPERTIES)
        assert api.operations == ["InitiateLayerUpload"] * placeholder.ATTEMPTS
    # The function has 60 seconds.
    assert sum(slept) <= 31


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        *(
            (Answer.error(code), code)
            for code in ("AccessDeniedException", "RepositoryNotFoundException", "LimitExceededException")
        ),
        (Answer.error("InvalidSignatureException", 403), "InvalidSignatureException"),
        (Answer(403, b"[]"), "HTTP 403"),
        (Answer(403, b"[1]"), "HTTP 403"),
        (Answer(404, b"\xff"), "HTTP 404"),
    ],
)
def test_a_refusal_is_told_at_once(bad: Answer, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ecr_api() as api:
        slept = be_the_function(monkeypatch, api)
        api.script = {"InitiateLayerUpload": [bad]}
        with pytest.raises(placeholder.EcrError) as refused:
            placeholder.push(PROPERTIES)
        assert api.operations == ["InitiateLayerUpload"]
    assert slept == []
    assert refused.value.code == code


def test_an_endpoint_that_the_environment_names_goes_first(api: EcrApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECR_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", api.url)
    placeholder.push(PROPERTIES)
    assert api.findings == []
