"""What a decision would change, resource by resource, before anything is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from pipeline.stacks.changeset import Kind, drop_change_set, dropped_on_failure, make_change_set
from pipeline.stacks.plan import (
    Adopt,
    CleanUpReview,
    ContinueRollback,
    Create,
    NoChange,
    Refuse,
    ReplaceFailed,
    StackPlan,
    Update,
    Wait,
    WantedStack,
)
from pipeline.stacks.state import StackState
from pipeline.stacks.watch import Deadline


@dataclass(frozen=True, slots=True)
class PropertyChange:
    """One changed property. before and after as CloudFormation shows them; None where it shows nothing.

    path      such as "Properties.Code.ImageUri"
    recreates whether this property alone makes CloudFormation replace the resource: Never, Conditionally, Always
    """

    path: str
    before: str | None = None
    after: str | None = None
    recreates: str = "Never"


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One resource that would change.

    action       Add, Modify, Remove, Import, Dynamic, or SyncWithActual (API_ResourceChange)
    replacement  True, False or Conditional for Modify, else ""
    """

    logical_id: str
    resource_type: str
    action: str
    replacement: str = ""
    physical_id: str = ""
    scope: tuple[str, ...] = ()
    properties: tuple[PropertyChange, ...] = ()

    @property
    def destructive(self) -> bool:
        """Whether the resource, or what is in it, may be lost: ask before."""
        return self.action == "Remove" or self.replacement in ("True", "Conditional")


def describe_change(
    cfn: Any, plan: StackPlan, *, validate: bool = False, timeout: float = 300.0
) -> tuple[ResourceChange, ...]:
    """The resources that ``apply_stack`` would change for ``plan``; nothing for a plan that changes none by itself.

    An update is asked from CloudFormation by a change set that is deleted again. A creation adds what the template
    has, so nobody needs to be asked; with ``validate`` CloudFormation is, which also runs its checks before deployment
    (a name that is taken), and the shell of a stack that such a change set leaves is deleted too.

    Raises StackFailed with what CloudFormation finds wrong.
    """
    match plan:
        case NoChange() | Refuse() | Wait() | ContinueRollback():
            return ()
        case Create(wanted=wanted) | Adopt(wanted=wanted) | CleanUpReview(wanted=wanted):
            if validate:
                return _ask(cfn, wanted, "CREATE", wanted.name, None, timeout)
            return _added(wanted)
        case ReplaceFailed(wanted=wanted):
            return _added(wanted)
        case Update(wanted=wanted, state=state):
            return _ask(cfn, wanted, "UPDATE", state.stack_id, state, timeout)
        case _:
            assert_never(plan)


def _added(wanted: WantedStack) -> tuple[ResourceChange, ...]:
    resources: Mapping[str, Any] = json.loads(wanted.template_body).get("Resources", {})
    return tuple(
        ResourceChange(logical_id, each["Type"], "Import" if logical_id in wanted.existing else "Add")
        for logical_id, each in resources.items()
    )


def _ask(
    cfn: Any, wanted: WantedStack, kind: Kind, target: str, state: StackState | None, timeout: float
) -> tuple[ResourceChange, ...]:
    made = make_change_set(cfn, wanted, kind, target, Deadline(timeout))
    if made.empty:
        return ()
    with dropped_on_failure(cfn, made):
        changes = tuple(_parse(each, wanted, state) for each in _read_changes(cfn, made.change_set_id))
    drop_change_set(cfn, made)
    return changes


def _read_changes(cfn: Any, change_set_id: str) -> Iterator[Mapping[str, Any]]:
    request: dict[str, Any] = {"ChangeSetName": change_set_id, "IncludePropertyValues": True}
    while True:
        page = cfn.describe_change_set(**request)
        yield from (each["ResourceChange"] for each in page.get("Changes", []) if "ResourceChange" in each)
        if not page.get("NextToken"):
            return
        request["NextToken"] = page["NextToken"]


def _parse(change: Mapping[str, Any], wanted: WantedStack, state: StackState | None) -> ResourceChange:
    logical_id = change["LogicalResourceId"]
    return ResourceChange(
        logical_id=logical_id,
        resource_type=change["ResourceType"],
        action=change["Action"],
        replacement=change.get("Replacement", ""),
        physical_id=change.get("PhysicalResourceId", ""),
        scope=tuple(change.get("Scope", ())),
        properties=_merge(_property(each, logical_id, wanted, state) for each in change.get("Details", ())),
    )


def _property(
    detail: Mapping[str, Any], logical_id: str, wanted: WantedStack, state: StackState | None
) -> PropertyChange:
    target = detail.get("Target", {})
    attribute, name = target.get("Attribute", "Properties"), target.get("Name")
    path = (
        ".".join(part for part in target["Path"].split("/") if part)
        if target.get("Path")
        else (f"{attribute}.{name}" if name else attribute)
    )
    before, after = target.get("BeforeValue"), target.get("AfterValue")
    if before is None and after is None and name and state is not None:
        # CloudFormation shows values only where it can; what the templates say plainly is shown all the same.
        before = _plain_value(state.template, state.parameters, logical_id, name)
        after = _plain_value(wanted.template_body, wanted.parameters, logical_id, name)
    return PropertyChange(path, before, after, target.get("RequiresRecreation", "Never"))


def _merge(properties: Iterator[PropertyChange]) -> tuple[PropertyChange, ...]:
    """One line for a property, though CloudFormation tells one for each cause of its change."""
    merged: dict[str, PropertyChange] = {}
    for each in properties:
        known = merged.get(each.path)
        if known is None or known.recreates == "Never":
            merged[each.path] = each
    return tuple(merged.values())


def _plain_value(body: str, parameters: Mapping[str, str], logical_id: str, name: str) -> str | None:
    """A property as text, with parameters filled in; None when it depends on what only CloudFormation knows."""
    try:
        template = json.loads(body)
        value = template["Resources"][logical_id]["Properties"][name]
    except (ValueError, KeyError):
        return None
    defaults = {key: each.get("Default") for key, each in template.get("Parameters", {}).items()}
    filled = _fill(value, {**defaults, **parameters})
    return filled if isinstance(filled, str) or filled is None else json.dumps(filled, sort_keys=True)


def _fill(value: Any, parameters: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"Ref"} and value["Ref"] in parameters:
            return parameters[value["Ref"]]
        return {key: _fill(each, parameters) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, parameters) for each in value]
    return value
