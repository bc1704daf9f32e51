"""Checks of the environment's stacks, and of existing resources whose names a deployment would collide with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import assert_never

from pipeline.core.errors import NextStep
from pipeline.doctor.situation import DeployedStack, Situation
from pipeline.doctor.verdict import Verdict, combine, error, ok, warning
from pipeline.drift.function_drift import deployed_functions, drift_of, read_drift
from pipeline.stacks import (
    Adopt,
    CleanUpReview,
    ContinueRollback,
    Create,
    NoChange,
    Refuse,
    ReplaceFailed,
    Update,
    Wait,
    WantedStack,
    plan_stack,
)
from pipeline.stacks.existing import IMPORTABLE, call_succeeds, find_identifier


def check_stacks(situation: Situation) -> Verdict:
    """Both stacks have a status from which ``up`` can proceed, by the same decision that ``up`` makes."""
    return combine(
        (_judge(situation.stack(name), body) for name, body in situation.bodies.items()), "there are no stacks"
    )


def _judge(stack: DeployedStack, body: str) -> Verdict:
    state = stack.state
    said = f"{state.name} is {state.status}" + (f" ({state.reason})" if state.reason else "")
    parameters: Mapping[str, str] = {} if state.status.gone else state.parameters
    wanted = WantedStack(state.name, body, parameters={} if not state.template else parameters)
    match plan_stack(state, wanted):
        case Refuse() as plan:
            return error(f"{said}: {plan.reason}", plan.next_step)
        case ReplaceFailed():
            return warning(
                f"{said}: it can only be deleted, with everything that it still contains",
                "`up` deletes and recreates it. First find out why it failed:"
                f" aws cloudformation describe-stack-events --stack-name {state.name}",
            )
        case ContinueRollback():
            return warning(said, "`up` completes the rollback, then proceeds.")
        case Wait():
            return warning(f"{said}: another deployment is running", "`up` waits for it to end.")
        case CleanUpReview():
            return warning(f"{said}: a change set was created and never executed", "`up` deletes it.")
        case Create() | Adopt() | Update() | NoChange():
            return ok(said)
        case other:
            assert_never(other)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A resource type with unique names.

    what    the type in error messages
    name    the property that holds the name
    delete  the command that deletes such a resource
    """

    what: str
    name: str
    exists: Callable[[Situation, str], bool]
    delete: str


def check_names(situation: Situation) -> Verdict:
    """No resource outside the stacks has a name that the templates use; ``check_log_groups`` covers log groups."""
    kinds = {kind: each for kind, each in _KINDS.items() if kind != "AWS::Logs::LogGroup"}
    return combine(_taken(situation, kinds), "every name is free or in use by the stacks")


def check_drift(situation: Situation) -> Verdict:
    """No function, and no alias, was changed outside of the pipeline stack."""
    state = situation.pipeline.state
    drifted = drift_of(read_drift(situation.client("lambda"), deployed_functions(state)))
    if drifted:
        again = NextStep("Put it back, or change its function.toml", ("up", "--revert-drift"))
        return warning("; ".join(f"changed outside of the stack: {each.text}" for each in drifted), again)
    return ok("the functions are as their stack made them" if state.template else "no settled stack to compare with")


def check_log_groups(situation: Situation) -> Verdict:
    """No log group that the templates name exists outside the stacks; it would fail with ResourceAlreadyExists.

    CloudFormation's pre-deployment validation does not cover log groups.
    """
    return combine(
        _taken(situation, {"AWS::Logs::LogGroup": _KINDS["AWS::Logs::LogGroup"]}),
        "every log group is free or in use by the stacks",
    )


def _taken(situation: Situation, kinds: Mapping[str, _Kind]) -> Iterator[Verdict]:
    foreign = [
        (kind, template, logical_id, properties[kinds[kind].name])
        for kind in kinds
        for template, logical_id, properties in situation.resources(kind)
        if isinstance(properties.get(kinds[kind].name), str) and logical_id not in situation.stack(template).resources
    ]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda each: kinds[each[0]].exists(situation, each[3]), foreign)
        for (kind, template, logical_id, name), exists in zip(foreign, found, strict=True):
            if not exists:
                continue
            said = f"the {kinds[kind].what} {name} already exists outside the stacks"
            delete = kinds[kind].delete.format(name=name)
            # `up` imports into a new stack only (pipeline.stacks.existing).
            if kind in IMPORTABLE and situation.stack(template).state.status.gone:
                yield warning(said, f"`up` imports it into the stack as {logical_id}. To start afresh: {delete}")
            else:
                yield error(said, f"Use another --environment, or delete it: {delete}")


def _importable(kind: str) -> Callable[[Situation, str], bool]:
    return lambda situation, name: find_identifier(situation.client, kind, name) is not None


def _function(situation: Situation, name: str) -> bool:
    client = situation.client("lambda")
    return call_succeeds(lambda: client.get_function_configuration(FunctionName=name), "ResourceNotFoundException")


def _topic(situation: Situation, name: str) -> bool:
    client, arn = situation.client("sns"), situation.arn("sns", name)
    return call_succeeds(lambda: client.get_topic_attributes(TopicArn=arn), "NotFound", "NotFoundException")


def _state_machine(situation: Situation, name: str) -> bool:
    client, arn = situation.client("stepfunctions"), situation.arn("states", f"stateMachine:{name}")
    return call_succeeds(lambda: client.describe_state_machine(stateMachineArn=arn), "StateMachineDoesNotExist")


def _alarm(situation: Situation, name: str) -> bool:
    return bool(situation.client("cloudwatch").describe_alarms(AlarmNames=[name]).get("MetricAlarms"))


def _key_alias(situation: Situation, name: str) -> bool:
    client = situation.client("kms")
    return call_succeeds(lambda: client.describe_key(KeyId=name), "NotFoundException")


def _application(situation: Situation, name: str) -> bool:
    client = situation.client("codedeploy")
    return call_succeeds(lambda: client.get_application(applicationName=name), "ApplicationDoesNotExistException")


_KINDS = {
    "AWS::DynamoDB::Table": _Kind(
        "table", "TableName", _importable("AWS::DynamoDB::Table"), "aws dynamodb delete-table --table-name {name}"
    ),
    "AWS::ECR::Repository": _Kind(
        "repository", "RepositoryName", _importable("AWS::ECR::Repository"),
        "aws ecr delete-repository --force --repository-name {name}"
    ),
    "AWS::Logs::LogGroup": _Kind(
        "log group", "LogGroupName", _importable("AWS::Logs::LogGroup"),
        "aws logs delete-log-group --log-group-name {name}"
    ),
    "AWS::Lambda::Function": _Kind(
        "function", "FunctionName", _function, "aws lambda delete-function --function-name {name}"
    ),
    "AWS::SNS::Topic": _Kind("topic", "TopicName", _topic, "aws sns delete-topic with the ARN of {name}"),
    "AWS::SQS::Queue": _Kind(
        "queue", "QueueName", _importable("AWS::SQS::Queue"), "aws sqs delete-queue with the URL of {name}"
    ),
    "AWS::StepFunctions::StateMachine": _Kind(
        "state machine", "StateMachineName", _state_machine,
        "aws stepfunctions delete-state-machine with the ARN of {name}",
    ),
    "AWS::CloudWatch::Alarm": _Kind(
        "alarm", "AlarmName", _alarm, "aws cloudwatch delete-alarms --alarm-names {name}"
    ),
    "AWS::KMS::Alias": _Kind("key alias", "AliasName", _key_alias, "aws kms delete-alias --alias-name {name}"),
    "AWS::CodeDeploy::Application": _Kind(
        "CodeDeploy application", "ApplicationName", _application,
        "aws deploy delete-application --application-name {name}",
    ),
}  # fmt: skip
