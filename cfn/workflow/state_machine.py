"""The state machine of the pipeline stack, with its role and its log group: the transaction workflow, or any other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from troposphere import GetAtt, Ref, Sub, Tags, Template, iam, logs, stepfunctions

from cfn.names import STATE_MACHINE, Names
from cfn.policies import allow, policy_document, trust_of_this_account
from cfn.problems import SettingsError
from cfn.settings import EXPRESS, Settings
from cfn.workflow.composition import State, definition, definition_text, expressions, tasks
from cfn.workflow.limits import COMPLIANCE, FRAUD, VALIDATION

ROLE, LOG_GROUP = f"{STATE_MACHINE}Role", f"{STATE_MACHINE}LogGroup"
# Log delivery knows no resource-level permissions (Step Functions guide, "Logging").
_DELIVER_LOGS = {
    "Effect": "Allow",
    "Action": [
        "logs:CreateLogDelivery",
        "logs:GetLogDelivery",
        "logs:UpdateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups",
    ],
    "Resource": "*",
}
# Texts that the definition repeats, beside those of whole expressions.
_REPEATED = {
    "Started": "$fromMillis($toMillis($states.context.Execution.StartTime))",
    "Input": "$states.context.Execution.Input",
    "New": "'repeat':false,'decided_at':$fromMillis($millis())",
    "Unchanged": "{% $states.input %}",
    "Throughput": "DynamoDB.ProvisionedThroughputExceededException",
    "RequestLimit": "DynamoDB.RequestLimitExceededException",
    "InternalError": "DynamoDB.InternalServerErrorException",
    "Condition": "ConditionalCheckFailedException",
    "Unspecific": "DynamoDB.AmazonDynamoDBException",
    "Throttling": "DynamoDB.ThrottlingException",
    "Client": "DynamoDB.SdkClientException",
    "Artifact": "Lambda.CodeArtifactUserPendingException",
    "ClientTime": "Lambda.ClientExecutionTimeoutException",
    "NotReady": "Lambda.ResourceNotReadyException",
    "TooMany": "Lambda.TooManyRequestsException",
    "Interfaces": "Lambda.EC2ThrottledException",
}


@dataclass(frozen=True, slots=True)
class Workflow:
    """The state machine's resources that other parts of the template refer to."""

    state_machine: Any
    role: Any
    log_group: Any


def add_workflow(
    template: Template,
    names: Names,
    settings: Settings,
    *,
    functions: Mapping[str, Any],
    table: Any,
    alert_topic: Any,
    dead_letter_queue: Any,
    fingerprint_key: Any,
    states: State | None = None,
) -> Workflow:
    """Add the EXPRESS state machine, with a role that is derived from the calls of its tasks.

    functions          name → ARN of the function, or of the alias that takes its traffic, as an intrinsic;
                       the three that the workflow calls must be among them
    table, alert_topic, dead_letter_queue, fingerprint_key
                       troposphere resources of the same template
    states             the definition; None for the one with the default limits

    Raises SettingsError when a function that the workflow calls is missing.
    """
    missing = [name for name in (VALIDATION, FRAUD, COMPLIANCE) if name not in functions]
    if missing:
        raise SettingsError(
            "the workflow cannot be composed",
            f"it calls {', '.join(missing)}, and there is no such function",
            "Restore the folder under images/, or remove the state from cfn/workflow/transaction-pipeline.asl.json.",
        )
    states = states or definition()
    called = [functions[name] for name in (VALIDATION, FRAUD, COMPLIANCE)]
    text, shared = _shortened(definition_text(states))
    return add_machine(
        template,
        names,
        settings,
        kind=EXPRESS,
        text=text,
        substitutions={
            **shared,
            "Table": Ref(table),
            "AlertTopic": Ref(alert_topic),
            "DeadLetterQueue": Ref(dead_letter_queue),
            "FingerprintKey": GetAtt(fingerprint_key, "Id"),
            "ValidationFunction": functions[VALIDATION],
            "FraudFunction": functions[FRAUD],
            "ComplianceFunction": functions[COMPLIANCE],
        },
        statements=call_statements(
            states,
            {
                "lambda": called,
                "dynamodb": GetAtt(table, "Arn"),
                "sns": Ref(alert_topic),
                "sqs": GetAtt(dead_letter_queue, "Arn"),
                "secretsmanager": GetAtt(fingerprint_key, "Id"),
            },
        ),
    )


def add_machine(
    template: Template,
    names: Names,
    settings: Settings,
    *,
    kind: str,
    text: str,
    substitutions: Mapping[str, Any],
    statements: Sequence[Mapping[str, Any]],
    logical_id: str = STATE_MACHINE,
    name: str = "",
) -> Workflow:
    """Add a state machine with its log group and its role, whose logical ids begin with ``logical_id``.

    name           of the state machine; "" for the environment's own
    kind           EXPRESS or STANDARD
    text           the definition, with ``${Name}`` for each of ``substitutions``
    statements     what the role allows, beside the delivery of logs
    """
    name = name or names.state_machine
    log_group = template.add_resource(
        logs.LogGroup(
            f"{logical_id}LogGroup",
            LogGroupName=names.workflow_log_group(name),
            RetentionInDays=settings.log_retention_days,
            DeletionPolicy="Delete",
            UpdateReplacePolicy="Delete",
        )
    )
    role = template.add_resource(
        iam.Role(
            f"{logical_id}Role",
            AssumeRolePolicyDocument=trust_of_this_account("states"),
            Policies=[iam.Policy(PolicyName="workflow", PolicyDocument=policy_document(*statements, _DELIVER_LOGS))],
            Tags=Tags(**dict(settings.tags)),
        )
    )
    state_machine = template.add_resource(
        stepfunctions.StateMachine(
            logical_id,
            StateMachineName=name,
            StateMachineType=kind,
            RoleArn=GetAtt(role, "Arn"),
            DefinitionString=text,
            **({"DefinitionSubstitutions": dict(substitutions)} if substitutions else {}),
            # Errors only, and never the data: no payload is logged.
            LoggingConfiguration=stepfunctions.LoggingConfiguration(
                Level="ERROR",
                IncludeExecutionData=False,
                Destinations=[
                    stepfunctions.LogDestination(
                        CloudWatchLogsLogGroup=stepfunctions.CloudWatchLogsLogGroup(
                            LogGroupArn=GetAtt(log_group, "Arn")
                        )
                    )
                ],
            ),
            Tags=Tags(**dict(settings.tags)),
        )
    )
    return Workflow(state_machine, role, log_group)


def _shortened(text: str) -> tuple[str, dict[str, str]]:
    """A definition's text with ``${Name}`` for what it repeats, and what each stands for.

    CloudFormation puts it back (DefinitionSubstitutions), so the state machine has the whole definition, and the
    template stays below 51,200 bytes. Each name stands for a complete text, since substitutions are not nested.
    """
    # What JSON would have to escape stays where it is.
    known = {name: long for name, long in {**expressions(), **_REPEATED}.items() if json.dumps(long) == f'"{long}"'}
    shared: dict[str, str] = {}

    def saved(name: str) -> int:
        """Characters of the template; one text may hold another, so the order matters."""
        long = known[name]
        return (text.count(long) - 1) * len(long) - (text.count(long) + 1) * len(f"${{{name}}}") - len('"":"",')

    while known and saved(best := max(known, key=lambda name: (saved(name), name))) > 0:
        shared[best] = known.pop(best)
        text = text.replace(shared[best], f"${{{best}}}")
    return text, shared


def call_statements(states: State, resources: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One Allow statement per service and index for what the tasks call, in a fixed order."""
    actions: dict[tuple[str, str], set[str]] = {}
    for task in tasks(states):
        # arn:aws:states:::dynamodb:putItem, or arn:aws:states:::aws-sdk:dynamodb:query
        service, action = task["Resource"].split(":")[-2:]
        index = task["Arguments"].get("IndexName", "")
        name = "InvokeFunction" if service == "lambda" else f"{action[0].upper()}{action[1:]}"
        actions.setdefault((service, index), set()).add(f"{service}:{name}")
    return [
        allow(
            sorted(names),
            Sub(f"${{Table}}/index/{index}", Table=resources[service]) if index else resources[service],
        )
        for (service, index), names in sorted(actions.items())
    ]
