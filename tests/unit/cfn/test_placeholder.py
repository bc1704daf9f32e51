from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zlib
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from hypothesis import given
from hypothesis import strategies as st

from cfn import placeholder
from cfn.registry import placeholder_source
from cfn.settings import Architecture


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


class Ecr:
    """A stubbed ECR client: what it is asked and answers is checked against the service's own model."""

    def __init__(self) -> None:
        self.client = boto3.client(
            "ecr", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self.stub = Stubber(self.client)
        self.stub.activate()

    def upload(self, *, exists: bool) -> None:
        self.stub.add_response(
            "initiate_layer_upload", {"uploadId": "3f0c", "partSize": 10_485_760}, {"repositoryName": "fraud-dev"}
        )
        self.stub.add_response("upload_layer_part", {"uploadId": "3f0c"}, None)
        expected = {"repositoryName": "fraud-dev", "uploadId": "3f0c", "layerDigests": [ANY]}
        if exists:
            self.stub.add_client_error("complete_layer_upload", "LayerAlreadyExistsException", expected_params=expected)
        else:
            self.stub.add_response("complete_layer_upload", {"uploadId": "3f0c"}, expected)


PROPERTIES: dict[str, Any] = {"RepositoryName": "fraud-dev", "Architecture": "arm64"}


def test_push_sends_config_layer_and_manifest_under_a_tag() -> None:
    ecr, digest = Ecr(), placeholder.placeholder_digest("arm64")
    ecr.upload(exists=False)
    ecr.upload(exists=False)
    ecr.stub.add_response(
        "put_image",
        {},
        {
            "repositoryName": "fraud-dev",
            "imageManifest": placeholder.make_image("arm64")[0].decode(),
            "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json",
            "imageTag": f"placeholder-{digest[7:19]}",
            "imageDigest": digest,
        },
    )
    assert placeholder.push(ecr.client, PROPERTIES) == {"Digest": digest}
    ecr.stub.assert_no_pending_responses()


def test_push_counts_what_is_there_as_pushed() -> None:
    ecr = Ecr()
    ecr.upload(exists=True)
    ecr.upload(exists=True)
    ecr.stub.add_client_error("put_image", "ImageAlreadyExistsException")
    assert placeholder.push(ecr.client, PROPERTIES) == {"Digest": placeholder.placeholder_digest("arm64")}
    ecr.stub.assert_no_pending_responses()


def test_push_refuses_when_synthesis_came_to_another_digest() -> None:
    ecr = Ecr()
    with pytest.raises(ValueError, match="the template expects sha256:0000"):
        placeholder.push(ecr.client, {**PROPERTIES, "Digest": "sha256:0000"})
    ecr.stub.assert_no_pending_responses()
