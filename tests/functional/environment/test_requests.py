"""Every request of every command: valid by AWS's models, and listed in the table of permissions."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.doctor.permissions import CALLED, DETECT_DRIFT, PROMOTED_FROM, RECOVERING, REVERT_DRIFT
from tests.functional.deployed import Deployed
from tests.models import request_findings

COMMANDS = tuple(CALLED)
FUNCTIONS = 3
# IAM's names where they are not boto3's.
PREFIXES = {"stepfunctions": "states", "service-quotas": "servicequotas"}
ACTIONS = {"lambda:Invoke": "lambda:InvokeFunction"}
# The registry's HTTP API is ECR's actions too (Amazon ECR user guide, "IAM permissions for pushing an image").
REGISTRY = (
    (r"HEAD /v2/.+/blobs/.*", "ecr:BatchCheckLayerAvailability"),
    (r"GET /v2/.+/blobs/.*", "ecr:GetDownloadUrlForLayer"),
    (r"POST /v2/.+/blobs/uploads/.*", "ecr:InitiateLayerUpload"),
    (r"PATCH /v2/.+/blobs/uploads/.*", "ecr:UploadLayerPart"),
    (r"PUT /v2/.+/blobs/uploads/.*", "ecr:CompleteLayerUpload"),
    (r"(GET|HEAD) /v2/.+/manifests/.*", "ecr:BatchGetImage"),
    (r"PUT /v2/.+/manifests/.*", "ecr:PutImage"),
    (r"GET /v2/.+/referrers/.*", "ecr:BatchGetImage"),
    (r"GET /v2/", ""),
)
ZONES = {
    "ec2:DescribeAvailabilityZones": "the embedded AWS does not attach its functions to a network",
    "ec2:DescribeVpcEndpointServices": "the embedded AWS does not support it",
}
# Listed actions that a run on the embedded AWS does not call, and why the command needs them.
DOCTOR = {
    "codedeploy:GetApplication": "only with gradual releases",
    **ZONES,
    "iam:GetRole": "only for a session of a role",
    "iam:SimulatePrincipalPolicy": "not for the root user",
    "servicequotas:GetServiceQuota": "the embedded AWS has no quotas",
    "kms:GetKeyPolicy": "the embedded AWS does not store the key of a topic",
}
LOCKED = {"ssm:GetParameter": "only while another run holds the lock"}
UP = {
    **ZONES,
    **LOCKED,
    "ecr:GetAuthorizationToken": "the embedded registry needs no login",
    "ecr:UploadLayerPart": "a blob that fits into one request; ECR counts it as an upload of a part",
    "ecr:BatchDeleteImage": "tags of releases older than the last hundred",
    "ecr:GetDownloadUrlForLayer": "pulls the image of an earlier release when its base is not in the cache",
    "lambda:PublishVersion": "a function whose image or alias was changed outside the stack",
    "lambda:UpdateAlias": "a function whose image or alias was changed outside the stack",
    "lambda:UpdateFunctionCode": "a function whose image or alias was changed outside the stack",
}
NOT_RECORDED: Mapping[str, Mapping[str, str]] = {
    "up": {
        **UP,
        **dict.fromkeys(
            ("cloudformation:DescribeStackResource", *(each.action for each in REVERT_DRIFT)), "with --revert-drift"
        ),
    },
    "promote": {
        **UP,
        "cloudformation:ListStacks": "only for an environment that does not exist",
        "lambda:DeleteFunction": "no function has more than two versions",
        "lambda:ListAliases": "no function has more than two versions",
    },
    "infra": {
        **ZONES,
        **LOCKED,
        "lambda:DeleteFunction": "no function has more than two versions",
        "lambda:ListAliases": "no function has more than two versions",
    },
    "plan": {
        **ZONES,
        "ecr:GetAuthorizationToken": "the embedded registry needs no login",
        "ecr:GetDownloadUrlForLayer": "a layer of the deployed image that is not in the local cache",
        **{each.action: "with --drift, where CloudFormation has no drift-aware change sets" for each in DETECT_DRIFT},
    },
    "why-changed": {
        "ecr:GetAuthorizationToken": "the embedded registry needs no login",
        "ecr:GetDownloadUrlForLayer": "a layer that is not in the local cache",
    },
    "rollback": {
        "ecr:BatchDeleteImage": "tags of releases older than the last hundred",
        "ecr:GetAuthorizationToken": "the embedded registry needs no login",
        "ecr:GetDownloadUrlForLayer": "a template that is not in the local cache",
        "lambda:PublishVersion": "a function whose image or alias was changed outside the stack",
        "lambda:UpdateAlias": "a function whose image or alias was changed outside the stack",
        "lambda:UpdateFunctionCode": "a function whose image or alias was changed outside the stack",
        "ssm:GetParameter": "with --to, and while another run holds the lock",
    },
    "prune": {
        **LOCKED,
        "cloudformation:ListStacks": "only for an environment that does not exist",
        "ecr:BatchDeleteImage": "every image is younger than the grace period of an hour",
    },
    "rehearse": {
        **LOCKED,
        "cloudformation:ListStackResources": "the rehearsal stack of a killed run",
        "ecr:DescribeImages": "with --release",
        "ecr:GetAuthorizationToken": "the embedded registry needs no login",
        "ecr:GetDownloadUrlForLayer": "with --release: a template that is not in the local cache",
        "ecr:UploadLayerPart": "a blob that fits into one request; ECR counts it as an upload of a part",
        "ssm:GetParameterHistory": "with --release",
    },
    "submit": {"dynamodb:GetItem": "a line of a file that an earlier run parked"},
    "redrive": {
        "dynamodb:DeleteItem": "a submission parked in the table because the queue was unavailable",
        "dynamodb:PutItem": "with --lost: a claim whose execution left neither a record nor a message",
        "dynamodb:Scan": "with --lost",
        "dynamodb:UpdateItem": "a submission parked in the table because the queue was unavailable",
        "sqs:ChangeMessageVisibility": "a message that stays parked",
    },
    "down": {
        **LOCKED,
        "cloudformation:ListStackResources": "the rehearsal stack of a killed run",
        "cloudformation:ListStacks": "only for an environment that does not exist",
        "lambda:DeleteFunction": "only when CloudFormation was not faster",
        "ec2:DeleteNetworkInterface": "the embedded AWS creates no network interfaces",
        "ec2:DescribeNetworkInterfaces": "the embedded AWS creates no network interfaces",
        "ssm:GetParameterHistory": "only when repositories are kept",
    },
    "doctor": DOCTOR,
    "console": {
        **DOCTOR,
        "dynamodb:UpdateItem": "a submission parked in the table because the queue was unavailable",
    },
}


def called_by(deployed: Deployed, command: str) -> set[str]:
    """The IAM actions of all requests of a command."""
    actions = {
        ACTIONS.get(f"{service}:{operation}", f"{PREFIXES.get(service, service)}:{operation}")
        for service, operation in deployed.sent_by(command)
        if (service, operation) != ("sts", "GetCallerIdentity")  # needs no permission
    }
    for call in deployed.registry_calls.get(command, ()):
        matches = [action for pattern, action in REGISTRY if re.fullmatch(pattern, call)]
        if call.split(" ")[1].startswith("/v2/"):
            assert matches, call
        actions.update(matches[:1])
    return actions - {""}


def test_every_request_fits_its_model(deployed: Deployed) -> None:
    findings = {
        f"{each.command}: {each.service}.{finding}"
        for each in deployed.requests
        for finding in request_findings(each.service, each.operation, each.parameters)
    }
    assert findings == set()
    assert len(deployed.requests) > 100


@pytest.mark.parametrize("command", COMMANDS)
def test_the_table_of_permissions_is_what_a_command_calls(deployed: Deployed, command: str) -> None:
    listed = {each.action for each in (*CALLED[command], *(PROMOTED_FROM if command == "promote" else ()))}
    recovering = (
        {each.action for each in RECOVERING}
        if command in ("up", "promote", "infra", "plan", "rollback", "rehearse", "down")
        else set()
    )
    called = called_by(deployed, command)
    assert called - listed - recovering == set()
    assert listed - called - set(NOT_RECORDED.get(command, {})) == set()


def test_actions_that_no_run_recorded_are_called_in_the_source() -> None:
    import pipeline

    source = "".join(path.read_text() for path in Path(inspect.getfile(pipeline)).parent.rglob("*.py"))
    for actions in NOT_RECORDED.values():
        for action in actions:
            operation = action.partition(":")[2]
            snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation).lstrip("_")
            assert snake in source or action == "ecr:GetDownloadUrlForLayer", action


def test_every_command_that_calls_aws_is_listed() -> None:
    from commands.usage import MODULES

    offline = {"build", "synth", "check", "completion", "cost", "credentials", "init", "rules", "verify-workflow"}
    offline |= {"serve", "verify", "watch"}  # calls registries; runs `up` for each change
    assert set(MODULES) - offline == set(COMMANDS)


def test_the_second_run_sends_nothing_that_changes_anything(deployed: Deployed) -> None:
    assert deployed.outcomes["up: nothing changed"].result["changed"] is False


def test_without_a_change_a_function_takes_three_requests(deployed: Deployed) -> None:
    """What does not grow with the functions: two stacks, their templates, facts of the account, one list, the lock."""
    sent = Counter(each.operation for each in deployed.requests if each.step == "up: nothing changed")
    assert {operation: count for operation, count in sent.items() if count > 2} == {
        "BatchGetImage": FUNCTIONS, "GetFunction": FUNCTIONS, "GetAlias": FUNCTIONS,
    }  # fmt: skip
    assert sent["ListFunctions"] == 1
    assert deployed.registry_steps["up: nothing changed"] == []
