"""A fake AWS account: real botocore clients with scripted answers; requests and answers are validated by AWS's models.

Nothing is sent. ``FakeAccount()`` is an empty account in which everything is allowed; a test changes what it needs:

    account.answer("ec2.DescribeVpcs", {"Vpcs": [{}] * 5})
    account.refuse("service-quotas.GetServiceQuota", "AccessDeniedException", "…")
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

from cfn.names import Names
from cfn.settings import Settings
from pipeline.assembly.model import FunctionSource
from pipeline.doctor import CHECKS, Verdict
from pipeline.doctor.checks import judge
from pipeline.doctor.situation import READINGS, look_at
from pipeline.environment.synth import Templates
from pipeline.oci.registry.client import Registry
from pipeline.target import Target
from tests.models import request_findings
from tests.unit.cfn.examples import DEV, FUNCTIONS, pipeline, registry

ACCOUNT, REGION = "111122223333", "eu-central-1"
Answer = Mapping[str, Any] | Callable[[Mapping[str, Any]], "Mapping[str, Any] | Refusal"]


@dataclass(frozen=True)
class Refusal:
    code: str
    message: str = "refused"
    status: int = 400


@dataclass
class FakeAccount:
    """answers: ``service.Operation`` → the answer, or a function of the request's parameters."""

    answers: dict[str, Answer | Refusal] = field(default_factory=lambda: dict(HEALTHY))
    calls: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    registry_url: str = ""

    def answer(self, operation: str, answer: Answer) -> None:
        self.answers[operation] = answer

    def refuse(self, operation: str, code: str, message: str = "refused") -> None:
        self.answers[operation] = Refusal(code, message)

    def called(self, operation: str) -> list[Mapping[str, Any]]:
        return [parameters for name, parameters in self.calls if name == operation]

    def deployed(self, stack: str, status: str = "CREATE_COMPLETE", **more: Any) -> None:
        """Add a stack with every resource of its template, and ``parameters`` if given."""
        parameters = more.pop("parameters", {})
        resources = more.pop("resources", None)
        kept = dict(self.answers.get("stacks", {}))  # type: ignore[arg-type]
        kept[stack] = {
            "StackName": stack,
            "StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{stack}/1",
            "StackStatus": status,
            "CreationTime": datetime.now(UTC),
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            **more,
        }
        self.answers["stacks"] = kept
        if resources is None:
            resources = templates()["registry" if "registry" in stack else "pipeline"]["Resources"]
        owned = dict(self.answers.get("resources", {}))  # type: ignore[arg-type]
        owned[stack] = {name: f"{name}-physical" for name in resources}
        self.answers["resources"] = owned

    def respond(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any] | Refusal:
        if operation == "cloudformation.DescribeStacks":
            found = self.answers.get("stacks", {}).get(parameters["StackName"])  # type: ignore[union-attr]
            if found is None:
                return Refusal("ValidationError", f"Stack with id {parameters['StackName']} does not exist")
            return {"Stacks": [found]}
        if operation == "cloudformation.ListStackResources":
            owned = self.answers["resources"][parameters["StackName"]]  # type: ignore[index]
            return {
                "StackResourceSummaries": [
                    {
                        "LogicalResourceId": name,
                        "PhysicalResourceId": physical,
                        "ResourceType": "any",
                        "LastUpdatedTimestamp": datetime.now(UTC),
                        "ResourceStatus": "CREATE_COMPLETE",
                    }
                    for name, physical in owned.items()
                ]
            }
        if operation == "cloudformation.GetTemplate":
            stack = parameters["StackName"]
            return {"TemplateBody": json.dumps(templates()["registry" if "registry" in stack else "pipeline"])}
        answer = self.answers[operation]
        return answer(parameters) if callable(answer) else answer

    def verdict(self, check: str, settings: Settings = DEV) -> Verdict:
        """The verdict of one check."""
        with ThreadPoolExecutor(READINGS) as pool:
            situation = look_at(self.target(), settings, SOURCES, Names(settings.environment), bodies(), pool)
            return judge(CHECKS[check], situation)

    def target(self) -> Target:
        _Current.account = self
        return _Target("aws", REGION, _session(), None)


class _Target(Target):
    def impatient(self) -> Target:
        return self

    def registry(self, host: str) -> Registry:
        assert _Current.account.registry_url, "this test has no registry"
        return Registry(host, endpoint_url=_Current.account.registry_url)


class _Current:
    account: FakeAccount


@cache
def _session() -> Any:
    """One session for all tests, so models are loaded once; it answers from the account of the running test."""
    session = botocore.session.Session()
    session.set_credentials("AKIAEXAMPLE", "not a secret")
    parameters: dict[int, Mapping[str, Any]] = {}

    def note(params: Any, model: Any, context: Any, **_more: Any) -> None:
        context["given"] = params

    def respond(model: Any, context: Any, **_more: Any) -> Any:
        service, name = model.service_model.service_name, model.name
        given = context["given"]
        assert request_findings(service, name, given) == []
        account = _Current.account
        account.calls.append((f"{service}.{name}", given))
        answer = account.respond(f"{service}.{name}", given)
        metadata = {
            "HTTPStatusCode": 200,
            "HTTPHeaders": {"date": format_datetime(datetime.now(UTC), usegmt=True)} | account.headers,
        }
        if isinstance(answer, Refusal):
            return _Http(answer.status), {
                "Error": {"Code": answer.code, "Message": answer.message},
                "ResponseMetadata": metadata | {"HTTPStatusCode": answer.status},
            }
        if model.output_shape is not None:
            report = ParamValidator().validate(dict(answer), model.output_shape)
            assert not report.has_errors(), report.generate_report()
        return _Http(200), {**answer, "ResponseMetadata": metadata}

    del parameters
    session.register("before-parameter-build", note)
    session.register("before-call", respond)
    return session


@dataclass(frozen=True)
class _Http:
    status_code: int


@cache
def templates() -> dict[str, dict[str, Any]]:
    return {"registry": registry(DEV), "pipeline": pipeline(DEV)}


@cache
def bodies() -> Templates:
    return Templates(**{name: json.dumps(template) for name, template in templates().items()})


SOURCES = tuple(
    FunctionSource(definition, folder=None, handler="handler.handle")  # type: ignore[arg-type]
    for definition in FUNCTIONS
)


def _allowed(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "EvaluationResults": [
            {"EvalActionName": action, "EvalDecision": "allowed"} for action in parameters["ActionNames"]
        ],
        "IsTruncated": False,
    }


def endpoint_services(**types: str) -> Mapping[str, Any]:
    """DescribeVpcEndpointServices: ``endpoint_services(states="Interface")``."""
    return {
        "ServiceDetails": [
            {"ServiceName": f"com.amazonaws.{REGION}.{name}", "ServiceType": [{"ServiceType": kind}]}
            for name, kind in types.items()
        ]
    }


HEALTHY: Mapping[str, Answer | Refusal] = {
    "sts.GetCallerIdentity": {
        "Account": ACCOUNT, "UserId": "AIDAEXAMPLE", "Arn": f"arn:aws:iam::{ACCOUNT}:user/team/somebody",
    },
    "iam.SimulatePrincipalPolicy": _allowed,
    "ec2.DescribeRegions": {"Regions": [{"RegionName": REGION, "OptInStatus": "opt-in-not-required"}]},
    "ec2.DescribeAvailabilityZones": {
        "AvailabilityZones": [{"ZoneName": f"{REGION}{letter}"} for letter in "abc"],
    },
    "ec2.DescribeManagedPrefixLists": {
        "PrefixLists": [
            {"PrefixListName": f"com.amazonaws.{REGION}.{name}", "PrefixListId": f"pl-0000000{number}"}
            for number, name in enumerate(("dynamodb", "s3"))
        ],
    },
    "ec2.DescribeVpcEndpointServices": endpoint_services(dynamodb="Gateway", s3="Gateway", states="Interface"),
    "ec2.DescribeVpcs": {"Vpcs": [{"VpcId": "vpc-1"}]},
    "ec2.DescribeVpcEndpoints": {"VpcEndpoints": []},
    "service-quotas.GetServiceQuota": {"Quota": {"Value": 5.0}},
    "lambda.GetAccountSettings": {
        "AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000},
    },
    "stepfunctions.ValidateStateMachineDefinition": {"result": "OK", "diagnostics": []},
    "stepfunctions.DescribeStateMachine": Refusal("StateMachineDoesNotExist"),
    "dynamodb.DescribeTable": Refusal("ResourceNotFoundException"),
    "ecr.GetAccountSetting": {"name": "BLOB_MOUNTING", "value": "DISABLED"},
    "ecr.DescribeRepositories": Refusal("RepositoryNotFoundException"),
    "logs.DescribeLogGroups": {"logGroups": []},
    "lambda.GetFunctionConfiguration": Refusal("ResourceNotFoundException"),
    "lambda.GetFunction": Refusal("ResourceNotFoundException"),
    "sns.GetTopicAttributes": Refusal("NotFound"),
    "sqs.GetQueueUrl": Refusal("AWS.SimpleQueueService.NonExistentQueue"),
    "cloudwatch.DescribeAlarms": {"MetricAlarms": []},
    "kms.DescribeKey": Refusal("NotFoundException"),
    "codedeploy.GetApplication": Refusal("ApplicationDoesNotExistException"),
}  # fmt: skip


def pull_policy(**changes: Any) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        **changes,
    }
    return {"policyText": json.dumps({"Statement": [statement]})}
