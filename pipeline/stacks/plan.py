"""Decide, then act: every state that a stack can be in, with what is wanted, leads to exactly one decision. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

from cfn.render import TEMPLATE_URL_MAX
from pipeline.stacks.state import StackState, StackStatus, canonical_template

# A change set this young on a stack in review belongs to a run that is about to execute it (seconds).
REVIEW_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class WantedStack:
    """A stack as it should be.

    parameters  complete: a parameter that is not named gets its default, not the value that it has
    tags        complete: a tag that is not named is taken away
    existing    logical ids of resources that exist already and are adopted when the stack is created (find_existing)
    """

    name: str
    template_body: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ("CAPABILITY_NAMED_IAM",)
    tags: Mapping[str, str] = field(default_factory=dict)
    existing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Create:
    """There is no stack: make it."""

    wanted: WantedStack


@dataclass(frozen=True, slots=True)
class Adopt:
    """There is no stack, but resources that an earlier one left behind: make it around them."""

    wanted: WantedStack


@dataclass(frozen=True, slots=True)
class CleanUpReview:
    """Somebody prepared the stack's creation and never executed it: drop the leftovers and make it."""

    wanted: WantedStack
    state: StackState


@dataclass(frozen=True, slots=True)
class Update:
    """The stack stands and differs.

    template_changed   its template differs
    parameters         those that change: name → (old, new), None for one that is not there
    tags_changed       its tags differ
    only_cloudformation_knows  nothing differs, but the template draws values from elsewhere (SSM, secrets, macros)
    """

    wanted: WantedStack
    state: StackState
    template_changed: bool = False
    parameters: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    tags_changed: bool = False
    only_cloudformation_knows: bool = False


@dataclass(frozen=True, slots=True)
class ReplaceFailed:
    """A creation or deletion failed and left a stack that can only be deleted: delete it, then make it."""

    wanted: WantedStack
    state: StackState


@dataclass(frozen=True, slots=True)
class Wait:
    """CloudFormation is at work on the stack: wait until it is done, then decide anew."""

    wanted: WantedStack
    state: StackState


@dataclass(frozen=True, slots=True)
class ContinueRollback:
    """An update failed and is not rolled back: bring the stack to where it was, then decide anew."""

    wanted: WantedStack
    state: StackState
    call: Literal["ContinueUpdateRollback", "RollbackStack"]


@dataclass(frozen=True, slots=True)
class NoChange:
    """The stack stands as it should."""

    wanted: WantedStack
    state: StackState


@dataclass(frozen=True, slots=True)
class Refuse:
    """The stack cannot become what is wanted, or only with a person's decision."""

    wanted: WantedStack
    reason: str
    next_step: str


StackPlan = Create | Adopt | CleanUpReview | Update | ReplaceFailed | Wait | ContinueRollback | NoChange | Refuse


def plan_stack(state: StackState, wanted: WantedStack) -> StackPlan:
    """The one decision for ``state`` and ``wanted``; docs/stacks.md shows the table."""
    findings = _findings(wanted)
    if findings:
        return Refuse(wanted, "; ".join(findings), "Mend the template or its parameters.")
    match state.status:
        case StackStatus.ABSENT | StackStatus.DELETE_COMPLETE:
            return Adopt(wanted) if wanted.existing else Create(wanted)
        case StackStatus.REVIEW_IN_PROGRESS:
            at_work = any(
                each.age < REVIEW_PATIENCE and each.status != "FAILED" and not each.abandoned
                for each in state.change_sets
            )
            return Wait(wanted, state) if at_work else CleanUpReview(wanted, state)
        case (
            StackStatus.CREATE_IN_PROGRESS
            | StackStatus.ROLLBACK_IN_PROGRESS
            | StackStatus.DELETE_IN_PROGRESS
            | StackStatus.UPDATE_IN_PROGRESS
            | StackStatus.UPDATE_COMPLETE_CLEANUP_IN_PROGRESS
            | StackStatus.UPDATE_ROLLBACK_IN_PROGRESS
            | StackStatus.UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS
            | StackStatus.IMPORT_IN_PROGRESS
            | StackStatus.IMPORT_ROLLBACK_IN_PROGRESS
        ):
            return Wait(wanted, state)
        case (
            StackStatus.CREATE_FAILED
            | StackStatus.ROLLBACK_FAILED
            | StackStatus.ROLLBACK_COMPLETE
            | StackStatus.DELETE_FAILED
        ):
            if state.termination_protection:
                return Refuse(
                    wanted,
                    f"it is in {state.status}, where a stack can only be deleted, and its termination protection is on",
                    "Turn it off: aws cloudformation update-termination-protection"
                    f" --no-enable-termination-protection --stack-name {state.name}",
                )
            return ReplaceFailed(wanted, state)
        case StackStatus.UPDATE_ROLLBACK_FAILED:
            return ContinueRollback(wanted, state, "ContinueUpdateRollback")
        case StackStatus.UPDATE_FAILED:
            return ContinueRollback(wanted, state, "RollbackStack")
        case StackStatus.IMPORT_ROLLBACK_FAILED:
            return Refuse(
                wanted,
                f"it is in IMPORT_ROLLBACK_FAILED ({state.reason or 'no reason given'}), from where no API leads on",
                "Mend the resources that the stack's events name, then delete the stack in the CloudFormation console.",
            )
        case (
            StackStatus.CREATE_COMPLETE
            | StackStatus.UPDATE_COMPLETE
            | StackStatus.UPDATE_ROLLBACK_COMPLETE
            | StackStatus.IMPORT_COMPLETE
            | StackStatus.IMPORT_ROLLBACK_COMPLETE
        ):
            return _compare(state, wanted)
        case _:
            assert_never(state.status)


def _compare(state: StackState, wanted: WantedStack) -> Update | NoChange:
    template_changed = canonical_template(wanted.template_body) != state.template
    parameters = _changed_parameters(state, wanted)
    tags_changed = dict(wanted.tags) != dict(state.tags)
    if template_changed or parameters or tags_changed:
        return Update(wanted, state, template_changed, parameters, tags_changed)
    if _draws_values_from_elsewhere(wanted.template_body):
        return Update(wanted, state, only_cloudformation_knows=True)
    return NoChange(wanted, state)


def _changed_parameters(state: StackState, wanted: WantedStack) -> dict[str, tuple[str | None, str | None]]:
    """Parameters whose value changes; also those that come with, or go with, another template."""
    if not _template(wanted.template_body):
        return {}
    declared = _declared_parameters(wanted.template_body)
    after = {name: wanted.parameters.get(name, _default(each)) for name, each in declared.items()}
    return {
        name: (state.parameters.get(name), after.get(name))
        for name in sorted({*state.parameters, *after})
        if state.parameters.get(name) != after.get(name)
    }


def _findings(wanted: WantedStack) -> list[str]:
    """Why CloudFormation would refuse the request at the door; everything at once."""
    findings = []
    size = len(wanted.template_body.encode())
    if size > TEMPLATE_URL_MAX:
        findings.append(f"its template has {size:,} bytes, CloudFormation takes {TEMPLATE_URL_MAX:,}")
    if not _template(wanted.template_body):
        return findings  # YAML: its parameters are CloudFormation's to judge
    declared = _declared_parameters(wanted.template_body)
    if unknown := sorted(set(wanted.parameters) - set(declared)):
        findings.append(f"its template has no parameter {', '.join(unknown)}")
    missing = sorted(name for name, each in declared.items() if "Default" not in each and name not in wanted.parameters)
    if missing:
        findings.append(f"its template needs a value for the parameter {', '.join(missing)}")
    return findings


def _template(body: str) -> Mapping[str, Any]:
    """The template as a mapping. One that is not JSON gives an empty one: CloudFormation will judge it."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _declared_parameters(body: str) -> Mapping[str, Mapping[str, Any]]:
    declared = _template(body).get("Parameters", {})
    return declared if isinstance(declared, dict) else {}


def _default(declaration: Mapping[str, Any]) -> str:
    """CloudFormation keeps every value as text; JSON has numbers too, and lists joined by commas."""
    default = declaration.get("Default", "")
    return default if isinstance(default, str) else json.dumps(default)


def _draws_values_from_elsewhere(body: str) -> bool:
    """Equal text may still mean other resources: only a change set can tell (API_CreateChangeSet)."""
    template = _template(body)
    if not template or "Transform" in template or "{{resolve:" in body:
        return True
    return any(
        str(each.get("Type", "")).startswith("AWS::SSM::") or each.get("NoEcho") in (True, "true")
        for each in _declared_parameters(body).values()
    )
