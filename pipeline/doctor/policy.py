"""The permissions that each command needs, its own and those of CloudFormation, and the least IAM policy for it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cfn.calls import RESULT_TOPIC, STATE_TABLE
from cfn.entrances.outputs import FILES_STATE_MACHINE
from cfn.events.kinds import FIFO_SUFFIX
from cfn.names import STATE_MACHINE, Names
from cfn.render import TEMPLATE_BODY_MAX
from cfn.settings import STANDARD
from pipeline.doctor.permissions import (
    CALLED,
    FILES_ENTRANCE,
    LARGE_TEMPLATES,
    POLICIES,
    QUEUE_ENTRANCE,
    RECOVERING,
    On,
    Permission,
    grant,
)
from pipeline.ledger.environment_lock import lock_name
from pipeline.ledger.releases import parameter_name
from pipeline.stacks.templates_bucket import TEMPLATES_BUCKET

HANDLERS = Path(__file__).with_name("handlers.toml")
# Commands that change or delete stacks, with the resource handlers that CloudFormation runs for them as the caller.
HANDLERS_OF_COMMAND: Mapping[str, tuple[str, ...]] = {
    "up": ("create", "read", "update", "delete"),
    "promote": ("create", "read", "update", "delete"),
    "infra": ("create", "read", "update", "delete"),
    "rollback": ("create", "read", "update", "delete"),
    "down": ("read", "delete"),
}
# CloudFormation resolves Fn::GetAZs as the caller (CloudFormation template reference, "Fn::GetAZs", "IAM permissions").
_GET_AZS = grant(On.ANYTHING, "ec2:DescribeAccountAttributes", "ec2:DescribeAvailabilityZones")
# CloudFormation invokes the function of a custom resource as the caller.
_CUSTOM = grant(On.FUNCTIONS, "lambda:InvokeFunction")
_ON_BY_SERVICE = {
    "cloudwatch": On.ALARMS,
    "dynamodb": On.TABLE,
    "ecr": On.REPOSITORIES,
    "iam": On.ROLES,
    "lambda": On.FUNCTIONS,
    "logs": On.LOG_GROUPS,
    "sns": On.TOPICS,
    "sqs": On.QUEUE,
    "states": On.STATE_MACHINE,
}
# The types of the rehearsal stack (cfn/rehearsal.py), and the handlers that each command needs of them.
_REHEARSAL_TYPES = ("AWS::IAM::Role", "AWS::Lambda::Function", "AWS::Logs::LogGroup")
_REHEARSAL_HANDLERS = {"rehearse": ("create", "read", "delete"), "down": ("read", "delete")}
# What only the transaction pipeline has, and what every workflow has.
_OF_TRANSACTIONS = {On.TABLE, On.QUEUE}
_OF_WORKFLOWS = {On.STATE_MACHINE, On.EXECUTIONS}
# How an execution of a STANDARD workflow is started and followed, instead of StartSyncExecution.
_SYNC = grant(On.STATE_MACHINE, "states:StartSyncExecution")
_EXECUTE = (*grant(On.STATE_MACHINE, "states:StartExecution"), *grant(On.EXECUTIONS, "states:DescribeExecution"))
# These match every log group or policy of the account.
_ON_ANYTHING = {"logs:DescribeLogGroups", "logs:DescribeMetricFilters", "logs:DescribeResourcePolicies"}


def permissions_of(command: str, bodies: Iterable[str]) -> tuple[Permission, ...]:
    """Everything that a command needs to deploy these templates, sorted and without duplicates.

    bodies  the text of the templates
    """
    bodies = tuple(bodies)
    found = {*POLICIES[command]}
    resources = {name: each for body in bodies for name, each in json.loads(body)["Resources"].items()}
    if bodies and STATE_TABLE not in resources:
        # A release is tried by invoking the functions, and there are no transactions.
        found = {each for each in found if each.on not in _OF_TRANSACTIONS}
        found.update(CALLED["invoke"] if command in ("up", "promote") else ())
        if STATE_MACHINE not in resources:
            found = {each for each in found if each.on not in _OF_WORKFLOWS}
        elif resources[STATE_MACHINE]["Properties"]["StateMachineType"] == STANDARD and found & {*_SYNC}:
            found = found - {*_SYNC} | {*_EXECUTE}
    if command == "submit" and any(f'"{FILES_STATE_MACHINE}"' in body for body in bodies):
        found.update(FILES_ENTRANCE)
    if command == "submit" and RESULT_TOPIC in resources:
        found.update(QUEUE_ENTRANCE)
    found.update(_of_rehearsal(_REHEARSAL_HANDLERS.get(command, ())))
    handlers = HANDLERS_OF_COMMAND.get(command, ())
    if handlers:
        found.update(RECOVERING)
        for body in bodies:
            if len(body.encode()) > TEMPLATE_BODY_MAX:
                found.update(LARGE_TEMPLATES)
            if "create" in handlers and '"Fn::GetAZs"' in body:
                found.update(_GET_AZS)
        for kind in {each["Type"] for each in resources.values()}:
            found.update(permissions_of_type(kind, handlers))
    return tuple(sorted(found, key=lambda each: (each.on, each.action)))


def _of_rehearsal(handlers: Sequence[str]) -> Iterator[Permission]:
    """What CloudFormation calls as the caller in these handlers of the rehearsal stack's resources; none for none."""
    if handlers:
        yield from (Permission(each.action, On.REHEARSAL) for each in RECOVERING)
    for kind in _REHEARSAL_TYPES:
        for each in permissions_of_type(kind, handlers):
            named = each.on in (On.FUNCTIONS, On.LOG_GROUPS, On.ROLES)
            yield Permission(each.action, On.REHEARSAL if named else each.on)


def permissions_of_type(kind: str, handlers: Sequence[str]) -> tuple[Permission, ...]:
    """What CloudFormation calls as the caller in these handlers of a resource type, sorted.

    Nothing for a type that ``handlers.toml`` does not list, which only ``resources.yaml`` can bring.
    """
    if kind.startswith("Custom::"):
        return _CUSTOM
    actions = {action for handler in handlers for action in handler_actions().get(kind, {}).get(handler, ())}
    return tuple(Permission(action, _on(kind, action)) for action in sorted(actions))


@cache
def handler_actions() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """``handlers.toml``: the actions of each handler of each resource type."""
    return tomllib.loads(HANDLERS.read_text())


def _on(kind: str, action: str) -> On:
    if kind == "AWS::IAM::ManagedPolicy":
        return On.POLICIES
    if kind == "AWS::CloudWatch::Dashboard":
        return On.ANYTHING
    service = action.partition(":")[0]
    return On.ANYTHING if action in _ON_ANYTHING else _ON_BY_SERVICE.get(service, On.ANYTHING)


def policy_of(
    command: str, bodies: Iterable[str], names: Names, functions: Sequence[str], partition: str, region: str
) -> dict[str, Any]:
    """The least IAM policy for a command, for any account: ``*`` stands for the account and for generated names.

    bodies     the text of the templates
    functions  folder names of the functions
    """

    def arn(service: str, resource: str) -> str:
        return f"arn:{partition}:{service}:{'' if service == 'iam' else region}:*:{resource}"

    bodies = tuple(bodies)
    has_files = any(f'"{names.files_state_machine}"' in body for body in bodies)
    actions: dict[On, list[str]] = {}
    for each in permissions_of(command, bodies):
        actions.setdefault(each.on, []).append(each.action)
    statements = []
    for on in sorted(actions):
        resources = resource_arns(on, names, functions, arn, any_name="*")
        resources += fifo_arns(resources, bodies)
        if has_files:
            resources += _of_files(on, names, arn)
        if on is On.LOG_GROUPS and any(f'"{names.api_log_group}"' in body for body in bodies):
            resources.append(arn("logs", f"log-group:{names.api_log_group}"))
        match on:
            case On.FUNCTIONS | On.LOG_GROUPS | On.REHEARSAL:  # also versions and aliases, and log streams
                resources += [f"{each}:*" for each in resources]
            case On.TABLE:
                resources += [f"{each}/index/*" for each in resources]
            case On.TEMPLATES_BUCKET:
                bucket = f"arn:{partition}:s3:::{TEMPLATES_BUCKET}-*-{region}"
                resources = [bucket, f"{bucket}/*"]
            case On.FILES_BUCKET:
                # The name that CloudFormation generates, in small letters.
                bucket = f"arn:{partition}:s3:::{names.pipeline_stack}-filesbucket-*"
                resources = [bucket, f"{bucket}/*"]
        statements.append({"Effect": "Allow", "Action": actions[on], "Resource": resources})
    return {"Version": "2012-10-17", "Statement": statements}


def _of_files(on: On, names: Names, arn: Callable[[str, str], str]) -> list[str]:
    """What ``resource_arns`` has besides where there is the entrance for files."""
    match on:
        case On.STATE_MACHINE:
            return [arn("states", f"stateMachine:{names.files_state_machine}")]
        case On.LOG_GROUPS:
            return [arn("logs", f"log-group:{names.workflow_log_group(names.files_state_machine)}")]
        case On.ALARMS:
            return [arn("cloudwatch", f"alarm:{names.files_state_machine}-*")]
    return []


def fifo_arns(arns: Iterable[str], bodies: Iterable[str]) -> list[str]:
    """Of the queues in ``arns``, those that are FIFO in a template: a change of the type deletes the other queue.

    bodies  the text of the templates
    """
    fifo = [f"{arn}{FIFO_SUFFIX}" for arn in arns if ":sqs:" in arn]
    return [arn for arn in fifo if any(f'"{arn.rpartition(":")[2]}"' in body for body in bodies)]


def resource_arns(
    on: On, names: Names, functions: Sequence[str], arn: Callable[[str, str], str], any_name: str = "any"
) -> list[str]:
    """ARNs of the resources that the commands work on. Names generated by CloudFormation begin with the stack's name.

    functions  folder names of the functions
    arn        gives the ARN of a service and a resource, such as ``arn("sqs", "transaction-dlq-dev")``
    any_name   stands for generated parts of names: "*" in a policy, any text in a simulation
    """
    deployed = [names.function(function) for function in functions]
    stacks = [names.registry_stack, names.pipeline_stack]
    match on:
        case On.ANYTHING | On.TEMPLATES_BUCKET | On.FILES_BUCKET:
            return ["*"]
        case On.FILES_MACHINE:
            own = names.files_state_machine
            kinds = ("stateMachine:{0}", "execution:{0}:{1}", "mapRun:{0}/{1}")
            return [arn("states", each.format(own, any_name)) for each in kinds]
        case On.STACKS:
            return [arn("cloudformation", f"stack/{stack}/{any_name}") for stack in stacks]
        case On.REHEARSAL:
            own, named = names.rehearsal_stack, f"{names.rehearsal_stack}-{any_name}"
            return [
                arn("cloudformation", f"stack/{own}/{any_name}"),
                arn("iam", f"role/{named}"),
                arn("lambda", f"function:{named}"),
                arn("logs", f"log-group:{named}"),
            ]
        case On.REPOSITORIES:
            return [arn("ecr", f"repository/{name}") for name in deployed] or ["*"]
        case On.FUNCTIONS:
            return [arn("lambda", f"function:{name}") for name in [*deployed, names.placeholder_function]]
        case On.STATE_MACHINE:
            return [arn("states", f"stateMachine:{names.state_machine}")]
        case On.EXECUTIONS:
            return [arn("states", f"execution:{names.state_machine}:{any_name}")]
        case On.TABLE:
            return [arn("dynamodb", f"table/{names.table}")]
        case On.TOPICS:
            return [arn("sns", name) for name in (names.alert_topic, names.alarm_topic, *deployed)]
        case On.FUNCTION_QUEUES:
            return [arn("sqs", name) for name in deployed] or ["*"]
        case On.QUEUE:
            queues = [f"{name}{suffix}" for name in deployed for suffix in ("", "-failures")]
            return [arn("sqs", name) for name in (names.dead_letter_queue, *queues)]
        case On.LOG_GROUPS:
            groups = [names.state_machine_log_group, names.placeholder_function, *deployed]
            return [arn("logs", f"log-group:{group}") for group in groups]
        case On.ROLES:
            return [arn("iam", f"role/{stack}-{any_name}") for stack in stacks]
        case On.POLICIES:
            return [arn("iam", f"policy/{names.pipeline_stack}-{any_name}")]
        case On.ALARMS:
            owners = [names.state_machine, names.dead_letter_queue, *deployed]
            return [arn("cloudwatch", f"alarm:{owner}-{any_name}") for owner in owners]
        case On.LEDGER:
            return [arn("ssm", f"parameter{name(names.ledger)}") for name in (parameter_name, lock_name)]
