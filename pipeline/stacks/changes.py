"""Preview what a plan would change, resource by resource."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

from pipeline.stacks.changeset import Kind, Upload, drop_change_set, dropped_on_failure, make_change_set
from pipeline.stacks.follow import Deadline
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
from pipeline.stacks.properties import Values, differences
from pipeline.stacks.state import StackState

# Replacing these loses nothing: a version is a snapshot, an alias and a permission only refer to other resources.
_HOLD_NOTHING = frozenset({"AWS::Lambda::Version", "AWS::Lambda::Alias", "AWS::Lambda::Permission"})


@dataclass(frozen=True, slots=True)
class PropertyChange:
    """One changed property.

    path       such as "Properties.Code.ImageUri"
    before     old value as text; None if absent or unknown
    after      new value as text; None if absent or unknown
    recreates  whether this change replaces the resource: Never, Conditionally or Always
    certain    False if it changes only if a resource that it refers to does
    drift      the value of the last deployment, and the actual one, if it was changed outside of the stack
    """

    path: str
    before: str | None = None
    after: str | None = None
    recreates: str = "Never"
    certain: bool = True
    drift: tuple[str | None, str | None] | None = None


@dataclass(frozen=True, slots=True)
class DriftPreview:
    """What reverting drift would change; not ``aware``: CloudFormation did not look at the actual state."""

    aware: bool
    changes: tuple[ResourceChange, ...] = ()


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One resource that would change.

    action       Add, Modify, Remove, Import, Dynamic or SyncWithActual (API_ResourceChange)
    drift        MODIFIED or DELETED outside of the stack, IN_SYNC, …; "" if CloudFormation did not look
    replacement  True, False or Conditional for Modify, else ""
    policy       what happens to the physical resource: Delete, Retain, ReplaceAndDelete, …; "" if unknown
    """

    logical_id: str
    resource_type: str
    action: str
    replacement: str = ""
    physical_id: str = ""
    policy: str = ""
    scope: tuple[str, ...] = ()
    properties: tuple[PropertyChange, ...] = ()
    drift: str = ""

    @property
    def certain(self) -> bool:
        """False if the resource changes only if one that it refers to does."""
        return self.action != "Modify" or not self.properties or any(each.certain for each in self.properties)

    @property
    def destructive(self) -> bool:
        """Whether the resource or its content may be lost, so that approval is needed."""
        if self.resource_type in _HOLD_NOTHING or "Retain" in self.policy or "Snapshot" in self.policy:
            return False
        return self.action == "Remove" or (self.certain and self.replacement in ("True", "Conditional"))


def describe_change(
    cfn: Any, plan: StackPlan, *, validate: bool = False, timeout: float = 300.0, upload: Upload | None = None
) -> tuple[ResourceChange, ...]:
    """The resources that ``apply_stack`` would change for ``plan``; () for a plan that changes none.

    An update is previewed with a change set, which is deleted afterwards. A creation adds the resources of the
    template, which needs no call; with ``validate`` it uses a change set too, so that CloudFormation's pre-deployment
    validation runs, and also deletes the empty stack that this leaves.

    upload  as for ``apply_stack``

    Raises StackFailed with CloudFormation's findings.
    """
    match plan:
        case NoChange() | Refuse() | Wait() | ContinueRollback():
            return ()
        case Create(wanted=wanted) | CleanUpReview(wanted=wanted):
            return _preview(cfn, wanted, None, Deadline(timeout), upload).changes if validate else _added(wanted)
        case Adopt(wanted=wanted) | ReplaceFailed(wanted=wanted):
            return _added(wanted)
        case Update(wanted=wanted, state=state):
            return _preview(cfn, wanted, state, Deadline(timeout), upload).changes
        case _:
            assert_never(plan)


def describe_drift(cfn: Any, update: Update, deadline: Deadline, upload: Upload | None = None) -> DriftPreview:
    """What an update that reverts drift would change, from a drift-aware change set, which is deleted afterwards.

    Source: CloudFormation user guide, "Using drift-aware change sets". Raises StackFailed.
    """
    return _preview(cfn, update.wanted, update.state, deadline, upload)


def _added(wanted: WantedStack) -> tuple[ResourceChange, ...]:
    resources: Mapping[str, Any] = json.loads(wanted.template_body).get("Resources", {})
    imported = {each.logical_id for each in wanted.existing}
    return tuple(
        ResourceChange(logical_id, each["Type"], "Import" if logical_id in imported else "Add")
        for logical_id, each in resources.items()
    )


def _preview(
    cfn: Any, wanted: WantedStack, state: StackState | None, deadline: Deadline, upload: Upload | None
) -> DriftPreview:
    """The changes of a change set for ``state``, or for a creation if there is none."""
    kind: Kind = "UPDATE" if state else "CREATE"
    made = make_change_set(cfn, wanted, kind, state.stack_id if state else wanted.name, deadline, upload)
    if made.empty:
        return DriftPreview(made.drift_aware)
    with dropped_on_failure(cfn, made):
        old = Values.of(state.template, state.parameters, made.stack_id) if state else Values({}, {})
        new = Values.of(wanted.template_body, wanted.parameters, made.stack_id)
        changes = tuple(_parse(each, old, new) for each in _read_changes(cfn, made.change_set_id))
    drop_change_set(cfn, made)
    return DriftPreview(made.drift_aware, changes)


def _read_changes(cfn: Any, change_set_id: str) -> Iterator[Mapping[str, Any]]:
    request: dict[str, Any] = {"ChangeSetName": change_set_id, "IncludePropertyValues": True}
    while True:
        page = cfn.describe_change_set(**request)
        yield from (each["ResourceChange"] for each in page.get("Changes", []) if "ResourceChange" in each)
        if not page.get("NextToken"):
            return
        request["NextToken"] = page["NextToken"]


def _parse(change: Mapping[str, Any], old: Values, new: Values) -> ResourceChange:
    logical_id = change["LogicalResourceId"]
    return ResourceChange(
        logical_id=logical_id,
        resource_type=change["ResourceType"],
        action=change["Action"],
        replacement=change.get("Replacement", ""),
        physical_id=change.get("PhysicalResourceId", ""),
        policy=change.get("PolicyAction", ""),
        scope=tuple(change.get("Scope", ())),
        drift=change.get("ResourceDriftStatus", ""),
        properties=_merge(
            each for detail in change.get("Details", ()) for each in _property(detail, logical_id, old, new)
        ),
    )


def _property(detail: Mapping[str, Any], logical_id: str, old: Values, new: Values) -> Iterator[PropertyChange]:
    """The changes of one detail: CloudFormation's values if it has any, else those computed from the templates."""
    target = detail.get("Target", {})
    attribute, name = target.get("Attribute", "Properties"), target.get("Name")
    path = f"{attribute}.{name}" if name else attribute
    if target.get("Path"):
        path = ".".join(part for part in target["Path"].split("/") if part)
    recreates = target.get("RequiresRecreation", "Never")
    # A Dynamic evaluation depends on a value that is known only while the stack is updated (API_ResourceChangeDetail).
    certain = detail.get("Evaluation") != "Dynamic"
    before, after, live = target.get("BeforeValue"), target.get("AfterValue"), target.get("Drift")
    drift = None if live is None else (live.get("PreviousValue"), live.get("ActualValue"))
    if before is not None or after is not None or drift is not None:
        yield PropertyChange(path, before, after, recreates, certain, drift)
        return
    known = list(differences(path, old.property(logical_id, name), new.property(logical_id, name))) if name else []
    for place, was, becomes in known:
        yield PropertyChange(place, was, becomes, recreates)
    if not known:
        yield PropertyChange(path, recreates=recreates, certain=certain)


def _merge(properties: Iterable[PropertyChange]) -> tuple[PropertyChange, ...]:
    """One change per property; CloudFormation lists one per cause, of which the most severe is kept."""
    merged: dict[str, PropertyChange] = {}
    for each in properties:
        known = merged.get(each.path)
        if known is None or _weight(each) > _weight(known):
            merged[each.path] = each if known is None else replace(each, drift=each.drift or known.drift)
    return tuple(merged.values())


def _weight(change: PropertyChange) -> tuple[bool, int]:
    return change.certain, ("Never", "Conditionally", "Always").index(change.recreates)
