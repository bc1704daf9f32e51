"""A project's own state machine, with a role that follows from its definition and alarms for its failures.

The definition names a function by its folder, ``${function:bill}``, which is the function's alias ``live``; anything
else in the stack by its logical id, ``${Orders}`` for its Ref and ``${Orders.Arn}`` for an attribute; and the pseudo
parameters, ``${AWS::Region}``. CloudFormation fills them in (DefinitionSubstitutions).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from troposphere import GetAtt, Ref, Sub, cloudwatch

from cfn.calls import PSEUDO_PARAMETERS
from cfn.metric_alarms import metric_alarm
from cfn.names import STATE_MACHINE, Names, pascal_case
from cfn.own_resources import own_document, own_types, resolve_calls
from cfn.problems import SettingsError
from cfn.settings import EXPRESS, OwnWorkflow, Settings
from cfn.statements import call_statements
from cfn.template import OpenTemplate
from cfn.validation import call_findings
from cfn.workflow.composition import State, every_state
from cfn.workflow.own_permissions import (
    MANIFEST,
    derived,
    is_distributed,
    needs_of,
    not_callable,
    refused_by_express,
    uncovered,
)
from cfn.workflow.state_machine import LOG_GROUP, ROLE, Workflow, add_machine

# Within one string of the JSON text, so that a missing brace does not take the text up to the next one.
_FUNCTION = re.compile(r'\$\{function:([^}"\\]*)\}')
_UNCLOSED = re.compile(r'\$\{function:[^}"\\]*(?=["\\])')
# Any other text in ${…}, as JSONata can have it, is not a reference.
_LOGICAL_ID = re.compile(r"\$\{(\w+|AWS::\w+)(?:\.([\w.]+))?\}")


def add_own_workflow(
    template: OpenTemplate,
    names: Names,
    settings: Settings,
    own: OwnWorkflow,
    *,
    functions: Collection[str],
    alarm_topic: Any,
) -> Workflow:
    """Add the state machine to a template that already has everything that the definition can name.

    functions  the functions' names

    Raises SettingsError with all findings.
    """
    text = _FUNCTION.sub(lambda found: f"${{{pascal_case(found[1])}Alias}}", own.definition)
    definition = json.loads(text)
    types = {name: str(each.resource_type) for name, each in template.resources.items()} | own_types(settings)
    known = {*types, *template.parameters, *own_document(settings).get("Parameters", {}), *PSEUDO_PARAMETERS}
    calls = resolve_calls(settings, MANIFEST, own.calls)
    needs = [*needs_of(definition, types)]
    findings = [
        *_unknown_functions(own.definition, functions),
        *_unknown_ids(own.definition, known),
        *not_callable(definition),
        *(refused_by_express(definition) if own.kind == EXPRESS else ()),
        *uncovered(needs, calls),
        *(finding for call in calls for finding in call_findings(settings, MANIFEST, call)),
        *(
            f"the stack has {each} already, which is the workflow's: rename that function or resource"
            for each in (STATE_MACHINE, ROLE, LOG_GROUP)
            if each in types
        ),
    ]
    if findings:
        raise SettingsError(
            "the workflow cannot be deployed",
            "; ".join(dict.fromkeys(findings)),
            f"Correct the definition or {MANIFEST}; docs/own-workflow.md describes both.",
        )
    machine = add_machine(
        template,
        names,
        settings,
        kind=own.kind,
        text=_LOGICAL_ID.sub(lambda found: f"${{{_key(found)}}}", text),
        substitutions={_key(found): _value(found) for found in _LOGICAL_ID.finditer(text)},
        statements=[*call_statements(names, [*derived(needs), *calls]), *_own_executions(names, definition)],
    )
    _add_alarms(template, names, machine, alarm_topic)
    return machine


def _unknown_functions(text: str, functions: Collection[str]) -> Iterator[str]:
    for name in dict.fromkeys(_FUNCTION.findall(text)):
        if name not in functions:
            close = difflib.get_close_matches(name, functions, 1)
            yield f"${{function:{name}}} is no function; " + (
                f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(functions))}"
            )
    for found in _UNCLOSED.finditer(text):
        yield f"{found[0][:80]} has no closing brace directly after the name of a function"


def _unknown_ids(text: str, known: Collection[str]) -> Iterator[str]:
    for found in _LOGICAL_ID.finditer(text):
        if found[1] not in known:
            close = difflib.get_close_matches(found[1], known, 1)
            hint = f"did you mean {close[0]}?" if close else "the stack and resources.yaml have no such logical id"
            yield f"{found[0]} stands for nothing; {hint}"


def _key(found: re.Match[str]) -> str:
    """The reference as a name of letters, digits and underscores. No logical id has an underscore."""
    return re.sub(r"\W+", "_", found[0][2:-1])


def _value(found: re.Match[str]) -> Any:
    return GetAtt(found[1], found[2]) if found[2] else Ref(found[1])


def _own_executions(names: Names, definition: State) -> list[dict[str, Any]]:
    """What a distributed Map needs (Step Functions guide, "IAM policies for using Distributed Map states")."""
    if not any(is_distributed(state) for _name, state in every_state(definition)):
        return []
    place = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"
    return [
        {
            "Effect": "Allow",
            "Action": ["states:StartExecution"],
            "Resource": Sub(f"{place}:stateMachine:{names.state_machine}"),
        },
        {
            "Effect": "Allow",
            "Action": ["states:DescribeExecution", "states:StopExecution"],
            "Resource": Sub(f"{place}:execution:{names.state_machine}/*"),
        },
    ]


def _add_alarms(template: OpenTemplate, names: Names, machine: Workflow, topic: Any) -> None:
    for metric, suffix in (("ExecutionsFailed", "failed"), ("ExecutionsTimedOut", "timed-out")):
        template.add_resource(
            metric_alarm(
                metric,
                f"{names.state_machine}-{suffix}",
                Namespace="AWS/States",
                MetricName=metric,
                Statistic="Sum",
                Dimensions=[cloudwatch.MetricDimension(Name="StateMachineArn", Value=Ref(machine.state_machine))],
                AlarmActions=[topic],
            )
        )
