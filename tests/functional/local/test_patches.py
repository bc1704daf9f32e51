"""What the patches of ministack make of the embedded AWS, through its API."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from botocore.exceptions import ClientError

from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import Registry, tar

PASS = {"QueryLanguage": "JSONata", "StartAt": "Say", "States": {"Say": {"Type": "Pass", "End": True}}}
FAIL = {"StartAt": "Say", "States": {"Say": {"Type": "Fail", "Error": "No", "Cause": "never"}}}


def make_machine(aws: EmbeddedAws, name: str, definition: object) -> str:
    iam, stepfunctions = aws.client("iam"), aws.client("stepfunctions")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "states.amazonaws.com"}}
    role = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    machine = stepfunctions.create_state_machine(
        name=name, type="EXPRESS", roleArn=role, definition=json.dumps(definition)
    )
    return str(machine["stateMachineArn"])


@pytest.mark.parametrize(("definition", "status"), [(PASS, "SUCCEEDED"), (FAIL, "FAILED")])
def test_an_express_execution_is_forgotten_once_it_was_answered(
    embedded_aws: EmbeddedAws, definition: object, status: str
) -> None:
    stepfunctions = embedded_aws.client("stepfunctions")
    machine = make_machine(embedded_aws, f"forgets-{status.lower()}", definition)
    for _ in range(3):
        answer = stepfunctions.start_sync_execution(stateMachineArn=machine, input='{"a": 1}')
        assert answer["status"] == status
    assert stepfunctions.list_executions(stateMachineArn=machine)["executions"] == []


def test_executions_of_one_name_have_their_own_arns(embedded_aws: EmbeddedAws) -> None:
    """As recorded on AWS: …:express:<machine>:<name>:<uuid>, and the name alone in the context."""
    stepfunctions = embedded_aws.client("stepfunctions")
    context = {"Type": "Pass", "Output": "{% $states.context.Execution %}", "End": True}
    machine = make_machine(embedded_aws, "one-name", {**PASS, "States": {"Say": context}})
    arns = set()
    for _ in range(2):
        answer = stepfunctions.start_sync_execution(stateMachineArn=machine, name="again")
        arn, execution = answer["executionArn"], json.loads(answer["output"])
        assert (answer["name"], execution["Name"], execution["Id"]) == ("again", "again", arn)
        assert arn.split(":")[5:8] == ["express", "one-name", "again"]
        arns.add(arn)
    assert len(arns) == 2


def upload(ecr: Any, repository: str, content: bytes, digest: str | None = None) -> str:
    upload_id = ecr.initiate_layer_upload(repositoryName=repository)["uploadId"]
    if content:
        ecr.upload_layer_part(
            repositoryName=repository, uploadId=upload_id, partFirstByte=0, partLastByte=len(content) - 1,
            layerPartBlob=content,
        )  # fmt: skip
    digest = digest or f"sha256:{hashlib.sha256(content).hexdigest()}"
    ecr.complete_layer_upload(repositoryName=repository, uploadId=upload_id, layerDigests=[digest])
    return digest


@pytest.mark.parametrize(
    ("content", "digest", "code"),
    [(b"layer", f"sha256:{'0' * 64}", "InvalidLayerException"), (b"", None, "EmptyUploadException")],
)
def test_an_upload_that_ecr_refuses_is_refused(
    embedded_aws: EmbeddedAws, content: bytes, digest: str | None, code: str
) -> None:
    ecr, name = embedded_aws.client("ecr"), f"refused-{code.lower()}"
    ecr.create_repository(repositoryName=name)
    with pytest.raises(ClientError, match=code):
        upload(ecr, name, content, digest)


def test_a_layer_is_there_from_its_upload_to_the_end_of_its_repository(embedded_aws: EmbeddedAws) -> None:
    ecr, name = embedded_aws.client("ecr"), "layers"
    ecr.create_repository(repositoryName=name)
    missing = f"sha256:{'0' * 64}"
    digest = upload(ecr, name, b"layer")
    with pytest.raises(ClientError, match="LayerAlreadyExistsException"):
        upload(ecr, name, b"layer")
    answer = ecr.batch_check_layer_availability(repositoryName=name, layerDigests=[digest, missing])
    assert [layer["layerDigest"] for layer in answer["layers"]] == [digest]
    assert [failure["failureCode"] for failure in answer["failures"]] == ["MissingLayerDigest"]
    ecr.delete_repository(repositoryName=name, force=True)
    ecr.create_repository(repositoryName=name)
    answer = ecr.batch_check_layer_availability(repositoryName=name, layerDigests=[digest])
    assert answer["layers"] == []


def test_a_deleted_image_cannot_be_pulled(embedded_aws: EmbeddedAws) -> None:
    registry = Registry(embedded_aws, tar({}))
    digest = registry.push("deleted", {"a.py": ""}).rpartition("@")[2]
    embedded_aws.client("ecr").batch_delete_image(repositoryName="deleted", imageIds=[{"imageDigest": digest}])
    with pytest.raises(HTTPError, match="404"):
        registry.take_manifest("deleted", digest)


def test_a_ministack_that_differs_stops_the_start_and_says_where(tmp_path: Path) -> None:
    for name in ("tmp", "state", "s3"):
        (tmp_path / name).mkdir()
    reader, writer = os.pipe()
    with os.fdopen(reader) as answers:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.functional.unfit_emulator",
             "--folder", str(tmp_path), "--port", "0", "--answer", str(writer), "--attached"],
            stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[writer], cwd=Path(__file__).parents[3],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        )  # fmt: skip
        os.close(writer)
        what, why, next_step = json.loads(answers.readline())["error"]
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 1
    assert what == "the embedded AWS was not started"
    assert "services.ecr:_put_image has the fingerprint" in why
    assert "pip install" in next_step
