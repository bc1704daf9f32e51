"""Plan a stack: each state, together with what is wanted, leads to exactly one decision. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

from cfn.render import TEMPLATE_URL_MAX
from pipeline.stacks.state import StackState, StackStatus, canonical_template

# A change set younger than this (seconds) on a stack in review belongs to a run that is about to execute it.
REVIEW_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class ExistingResource:
    """A resource that exists already, under a name that a template gives to ``logical_id``.

    identifier  the primary identifier of its type's schema: {"QueueUrl": "https://…"}
    """

    logical_id: str
    resource_type: str
    identifier: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WantedStack:
    """The wanted state of a stack.

    parameters  complete: an omitted parameter gets its default, not its current value
    tags        complete: an omitted tag is removed
    existing    resources to import before anything else is created (``find_existing``)
    revert_drift  update it even if it is as wanted, and revert what was changed outside of it
    express     complete an update as soon as its configuration is applied, before every resource is ready
    """

    name: str
    template_body: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ("CAPABILITY_NAMED_IAM",)
    tags: Mapping[str, str] = field(default_factory=dict)
    existing: tuple[ExistingResource, ...] = ()
    revert_drift: bool = False
    express: bool = False


@dataclass(frozen=True, slots=True)
class Create:
    """There is no stack: create it."""

    wanted: WantedStack


@dataclass(frozen=True, slots=True)
class Adopt:
    """There is no stack, but an earlier one left resources behind: import them into a new stack, then update it."""

    wanted: WantedStack


@dataclass(frozen=True, slots=True)
class CleanUpReview:
    """A creation was prepared and never executed: delete its change sets and create the stack."""

    wanted: WantedStack
    state: StackState


@dataclass(frozen=True, slots=True)
class Update:
    """The stack differs from what is wanted: update it.

    parameters                 changed parameters: name → (old, new), None if absent
    only_cloudformation_knows  nothing differs, but the template reads other sources (SSM, secrets, macros), or what
                               was changed outside of the stack is reverted
    """

    wanted: WantedStack
    state: StackState
    template_changed: bool = False
    parameters: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    tags_changed: bool = False
    only_cloudformation_knows: bool = False


@dataclass(frozen=True, slots=True)
class ReplaceFailed:
    """A failed creation or deletion left a stack that can only be deleted: delete it, then create it."""

    wanted: WantedStack
    state: StackState


@dataclass(frozen=True, slots=True)
class Wait:
    """An operation on the stack is in progress: wait for it, then plan again."""

    wanted: WantedStack
    state: StackState


@dataclass(frozen=True, slots=True)
class ContinueRollback:
    """The rollback of a failed update is incomplete: complete it, then plan again."""

    wanted: WantedStack
    state: StackState
    call: Literal["ContinueUpdateRollback", "RollbackStack"]


@dataclass(frozen=True, slots=True)
class NoChange:
    """The stack is as wanted."""

    wanted: WantedStack
    state: StackState


@dataclass(frozen=True, slots=True)
class Refuse:
    """The stack cannot be brought to what is wanted without intervention."""

    wanted: WantedStack
    reason: str
    next_step: str


StackPlan = Create | Adopt | CleanUpReview | Update | ReplaceFailed | Wait | ContinueRollback | NoChange | Refuse


def plan_stack(state: StackState, wanted: WantedStack) -> StackPlan:
    """The decision for ``state`` and ``wanted``; docs/stacks.md has the table."""
    findings = _findings(wanted)
    if findings:
        return Refuse(wanted, "; ".join(findings), "Fix the template or its parameters.")
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
                    f"it is in {state.status}, so it can only be deleted, but termination protection is enabled",
                    "Disable it: aws cloudformation update-termination-protection"
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
                f"it is in IMPORT_ROLLBACK_FAILED ({state.reason or 'no reason given'}), which no API call can leave",
                "Fix the resources named in the stack's events, then delete the stack in the CloudFormation console.",
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
    if wanted.revert_drift or _draws_values_from_elsewhere(wanted.template_body):
        return Update(wanted, state, only_cloudformation_knows=True)
    return NoChange(wanted, state)


def _changed_parameters(state: StackState, wanted: WantedStack) -> dict[str, tuple[str | None, str | None]]:
    """Parameters whose value changes, or that the new template adds or removes."""
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
    """All reasons for which CloudFormation would reject the request."""
    findings = []
    size = len(wanted.template_body.encode())
    if size > TEMPLATE_URL_MAX:
        findings.append(f"its template has {size:,} bytes, and the limit is {TEMPLATE_URL_MAX:,}")
    if not _template(wanted.template_body):
        return findings  # YAML: CloudFormation checks its parameters
    declared = _declared_parameters(wanted.template_body)
    if unknown := sorted(set(wanted.parameters) - set(declared)):
        findings.append(f"its template has no parameter {', '.join(unknown)}")
    missing = sorted(name for name, each in declared.items() if "Default" not in each and name not in wanted.parameters)
    if missing:
        findings.append(f"its template needs a value for the parameter {', '.join(missing)}")
    return findings


def _template(body: str) -> Mapping[str, Any]:
    """The parsed template; {} if it is not JSON, which leaves its checks to CloudFormation."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _declared_parameters(body: str) -> Mapping[str, Mapping[str, Any]]:
    declared = _template(body).get("Parameters", {})
    return declared if isinstance(declared, dict) else {}


def _default(declaration: Mapping[str, Any]) -> str:
    """The default as CloudFormation stores it, as text."""
    default = declaration.get("Default", "")
    return default if isinstance(default, str) else json.dumps(default)


def _draws_values_from_elsewhere(body: str) -> bool:
    """Whether equal text may still resolve to other values, which only a change set shows (API_CreateChangeSet)."""
    template = _template(body)
    if not template or "Transform" in template or "{{resolve:" in body:
        return True
    return any(
        str(each.get("Type", "")).startswith("AWS::SSM::") or each.get("NoEcho") in (True, "true")
        for each in _declared_parameters(body).values()
    )
