"""The policies of a SAM function as ``[[calls]]``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cfn.own_resources import REF_IS_ARN
from pipeline.assembly.manifest import known_services
from pipeline.sam.sam_values import Unknown, Values, function_of

# SAM developer guide, "Policy template list": name → parameter, service, actions, resources (%s is the parameter).
_TEMPLATES: Mapping[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "DynamoDBReadPolicy": ("TableName", "dynamodb", (
        "BatchGetItem", "DescribeTable", "GetItem", "Query", "Scan"), ("table/%s", "table/%s/index/*")),
    "DynamoDBWritePolicy": ("TableName", "dynamodb", (
        "BatchWriteItem", "PutItem", "UpdateItem"), ("table/%s", "table/%s/index/*")),
    "DynamoDBCrudPolicy": ("TableName", "dynamodb", (
        "BatchGetItem", "BatchWriteItem", "ConditionCheckItem", "DeleteItem", "DescribeTable", "GetItem", "PutItem",
        "Query", "Scan", "UpdateItem"), ("table/%s", "table/%s/index/*")),
    "S3ReadPolicy": ("BucketName", "s3", (
        "GetBucketLocation", "GetLifecycleConfiguration", "GetObject", "GetObjectVersion", "ListBucket"),
        ("%s", "%s/*")),
    "S3WritePolicy": ("BucketName", "s3", (
        "PutLifecycleConfiguration", "PutObject", "PutObjectAcl"), ("%s", "%s/*")),
    "S3CrudPolicy": ("BucketName", "s3", (
        "DeleteObject", "GetBucketLocation", "GetLifecycleConfiguration", "GetObject", "GetObjectVersion",
        "ListBucket", "PutLifecycleConfiguration", "PutObject", "PutObjectAcl"), ("%s", "%s/*")),
    "SQSSendMessagePolicy": ("QueueName", "sqs", ("SendMessage",), ("%s",)),
    "SNSPublishMessagePolicy": ("TopicName", "sns", ("Publish",), ("%s",)),
    "KinesisStreamReadPolicy": ("StreamName", "kinesis", (
        "DescribeStream", "DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards"), ("stream/%s",)),
    "SSMParameterReadPolicy": ("ParameterName", "ssm", (
        "GetParameter", "GetParameters", "GetParametersByPath"), ("parameter/%s",)),
    "EventBridgePutEventsPolicy": ("EventBusName", "events", ("PutEvents",), ("event-bus/%s",)),
    "StepFunctionsExecutionPolicy": ("StateMachineName", "stepfunctions", ("StartExecution",), ("stateMachine:%s",)),
    "AWSSecretsManagerGetSecretValuePolicy": ("SecretArn", "secretsmanager", ("GetSecretValue",), ("%s",)),
}  # fmt: skip
# Permissions that the role of every function has, or of one with an event, a network or tracing.
_IMPLIED = (
    "AWSLambdaBasicExecutionRole", "AWSLambdaVPCAccessExecutionRole", "AWSLambdaSQSQueueExecutionRole",
    "AWSLambdaDynamoDBExecutionRole", "AWSLambdaKinesisExecutionRole", "AWSXRayDaemonWriteAccess",
    "AWSXrayWriteOnlyAccess", "SQSPollerPolicy", "VPCAccessPolicy",
)  # fmt: skip
# IAM's prefix → the name that boto3.client takes, where they differ.
_CLIENTS = {"states": "stepfunctions"}
_ACTION = re.compile(r"[A-Z][A-Za-z0-9]+")
_REFERENCE = r"\$\{(?P<id>[A-Z][A-Za-z0-9]*)(?P<attribute>\.[A-Za-z]+)?\}"
_WHOLE = re.compile(_REFERENCE + r"(?P<rest>/.*)?")
# arn:…:table/${Orders}/index/*
_IN_ARN = re.compile(r"arn:[^$]*(?:\$\{AWS::[A-Za-z]+\}[^$]*)*[:/]" + _REFERENCE + r"(?P<rest>/.*)?")
_PSEUDO = re.compile(r"\$\{AWS::(?:AccountId|Partition|Region)\}")
_BY_HAND = "Write what the function calls into [[calls]] of function.toml: service, actions, resource."


def read_policies(
    policies: Any, values: Values, types: Mapping[str, str]
) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    """The calls of ``Policies``, and what is not carried over: place, why, what to do.

    types  of the own resources, by logical id
    """
    calls: list[dict[str, Any]] = []
    notes: list[tuple[str, str, str]] = []
    for place, policy in _listed(policies):
        try:
            calls += _calls(policy, values, types)
        except (Unknown, ValueError) as problem:
            notes.append((place, str(problem), _BY_HAND))
    return [call for number, call in enumerate(calls) if call not in calls[:number]], notes


def _listed(policies: Any) -> Iterator[tuple[str, Any]]:
    """The policies one by one; of a document each statement."""
    for number, policy in enumerate(policies if isinstance(policies, list) else [policies]):
        place = f"Policies[{number}]" if isinstance(policies, list) else "Policies"
        if isinstance(policy, dict) and "Statement" in policy:
            statements = policy["Statement"]
            for index, each in enumerate(statements if isinstance(statements, list) else [statements]):
                yield f"{place}.Statement[{index}]", {"Statement": each}
        elif isinstance(policy, dict) and not function_of(policy) and len(policy) > 1:
            for name, each in policy.items():
                yield f"{place}.{name}", {name: each}
        else:
            yield place, policy


def _calls(policy: Any, values: Values, types: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    match policy:
        case str():
            if policy.rpartition("/")[2] not in _IMPLIED:
                raise Unknown(f"it is the managed policy {policy[:200]}")
        case {"Statement": statement}:
            yield from _of_statement(statement, values, types)
        case dict() if not function_of(policy) and len(policy) == 1:
            ((name, parameters),) = policy.items()
            if name in _IMPLIED:
                return
            if name not in _TEMPLATES:
                raise Unknown(f"the policy template {str(name)[:80]} is not read")
            parameter, service, actions, resources = _TEMPLATES[name]
            if not isinstance(parameters, dict) or set(parameters) != {parameter}:
                raise Unknown(f"{name} has another parameter than {parameter}")
            value = values.text(parameters[parameter])
            for resource in resources:
                yield _call(service, actions, _of_parameter(service, resource, value, types))
        case _:
            raise Unknown(f"it uses {function_of(policy)}" if function_of(policy) else "it is no policy")


def _of_statement(statement: Any, values: Values, types: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    if not isinstance(statement, dict) or statement.get("Effect") != "Allow":
        raise Unknown("only statements with Effect: Allow are read")
    if other := sorted(set(map(str, statement)) - {"Effect", "Action", "Resource", "Sid"}):
        raise Unknown(f"it has {', '.join(other)[:200]}")
    actions, resources = _texts(statement.get("Action"), values), _texts(statement.get("Resource"), values)
    by_service: dict[str, list[str]] = {}
    for action in actions:
        prefix, _, name = action.partition(":")
        service = _CLIENTS.get(prefix, prefix)
        if service not in known_services() or not _ACTION.fullmatch(name):
            raise Unknown(f"{action[:80]} is not one action of a service that boto3 has")
        by_service.setdefault(service, []).append(name)
    for service, names in by_service.items():
        for resource in resources:
            yield _call(service, names, resource if resource == "*" else _named(resource, types))


def _texts(value: Any, values: Values) -> list[str]:
    found = [values.text(each) for each in (value if isinstance(value, list) else [value])]
    if not found:
        raise Unknown("it has an empty list")
    return found


def _call(service: str, actions: Any, resource: str) -> dict[str, Any]:
    return {"service": service, "actions": sorted(set(actions)), "resource": resource}


def _of_parameter(service: str, form: str, value: str, types: Mapping[str, str]) -> str:
    """The resource of a policy template, whose parameter is a name, an ARN, or a reference to an own resource."""
    before, _, after = form.partition("%s")
    if (found := _WHOLE.fullmatch(value)) and found["id"] in types and not found["rest"]:
        return found["id"] + after
    if value.startswith("arn:"):
        return _named(value + after, types)
    if "$" in value:
        raise Unknown(f"its resource is {value[:200]}")
    prefix = next((prefix for prefix, client in _CLIENTS.items() if client == service), service)
    place = ":" if service == "s3" else "${AWS::Region}:${AWS::AccountId}"
    return f"arn:${{AWS::Partition}}:{prefix}:{place}:{before}{value.lstrip('/')}{after}"


def _named(resource: str, types: Mapping[str, str]) -> str:
    """How ``[[calls]]`` names the resource of a statement: an own one by its logical id. Raises Unknown."""
    inside = _IN_ARN.fullmatch(resource)
    found = inside or _WHOLE.fullmatch(resource)
    if found is not None and found["id"] in types:
        if inside or found["attribute"] == ".Arn" or types[found["id"]] in REF_IS_ARN:
            return found["id"] + (found["rest"] or "")
    elif resource.startswith("arn:") and "$" not in _PSEUDO.sub("", resource):
        return resource
    raise Unknown(f"its resource is {resource[:200]}")
