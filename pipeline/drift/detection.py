"""What CloudFormation finds: by a drift-aware change set, or by its drift detection where that is not to be had."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core.aws_answers import error_code
from pipeline.core.errors import StackError
from pipeline.drift.drifted import Difference, Drifted
from pipeline.stacks import NoChange, ResourceChange, StackPlan, StackState, Update, Upload, plan_stack
from pipeline.stacks.changes import describe_drift
from pipeline.stacks.follow import Deadline, Pause

# How CloudFormation, and what imitates it, refuses an operation that it does not have.
_UNKNOWN = {"InvalidAction", "UnknownOperationException", "UnsupportedOperation", "NotImplemented"}
_DRIFTED = ("MODIFIED", "DELETED")


@dataclass(frozen=True, slots=True)
class StackDrift:
    """The drift of a stack.

    by       "change set", "detection", or "" if CloudFormation did not look
    changes  what ``up --revert-drift`` would do, if a change set says so
    """

    by: str
    drifted: tuple[Drifted, ...] = ()
    changes: tuple[ResourceChange, ...] = ()


def detect_drift(cfn: Any, plan: StackPlan, upload: Upload | None = None, *, timeout: float = 600.0) -> StackDrift:
    """What was changed outside of the stack that ``plan`` is about; nothing for a stack that is not settled.

    Raises StackError after ``timeout`` seconds, and StackFailed as ``describe_change`` does.
    """
    if not isinstance(plan, NoChange | Update):
        return StackDrift("")
    deadline = Deadline(timeout)
    reverting = plan_stack(plan.state, replace(plan.wanted, revert_drift=True))
    assert isinstance(reverting, Update)  # noqa: S101  (of a settled stack)
    preview = describe_drift(cfn, reverting, deadline, upload)
    if preview.aware:
        drifted = tuple(_of_change(each) for each in preview.changes if each.drift in _DRIFTED)
        return StackDrift("change set", drifted, preview.changes)
    return _detect(cfn, plan.state, deadline)


def _of_change(change: ResourceChange) -> Drifted:
    differences = tuple(
        Difference.of(each.path.removeprefix("Properties."), *each.drift)
        for each in change.properties
        if each.drift is not None
    )
    deleted = change.drift == "DELETED"
    return Drifted(change.logical_id, change.resource_type, change.physical_id, differences, deleted=deleted)


def _difference(found: Any) -> Difference:
    """A PropertyDifference; what was added has no expected value, and what was removed no actual one."""
    kind = found["DifferenceType"]
    return Difference.of(
        found["PropertyPath"].strip("/").replace("/", "."),
        None if kind == "ADD" else found["ExpectedValue"],
        None if kind == "REMOVE" else found["ActualValue"],
    )


def _detect(cfn: Any, state: StackState, deadline: Deadline) -> StackDrift:
    """Drift detection (API_DetectStackDrift), which reads every resource that supports it."""
    try:
        detection = cfn.detect_stack_drift(StackName=state.stack_id)["StackDriftDetectionId"]
    except ClientError as problem:
        if error_code(problem) not in _UNKNOWN:
            raise
        return StackDrift("")
    pause = Pause(deadline, longest=5.0)
    while True:
        found = cfn.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
        if found["DetectionStatus"] != "DETECTION_IN_PROGRESS":
            break
        pause(state.name)
    drifted = _read_drifts(cfn, state)
    if found["DetectionStatus"] == "DETECTION_FAILED" and not drifted:
        # It has failed for some resources, and has results for the others.
        raise StackError(
            f"the drift of {state.name} was not detected",
            found.get("DetectionStatusReason", "CloudFormation gives no reason"),
            "Allow the caller to read every resource of the stack, then run it again.",
        )
    return StackDrift("detection", drifted)


def _read_drifts(cfn: Any, state: StackState) -> tuple[Drifted, ...]:
    request: dict[str, Any] = {"StackName": state.stack_id, "StackResourceDriftStatusFilters": list(_DRIFTED)}
    found: list[Drifted] = []
    while True:
        page = cfn.describe_stack_resource_drifts(**request)
        for each in page["StackResourceDrifts"]:
            differences = tuple(map(_difference, each.get("PropertyDifferences", [])))
            found.append(
                Drifted(
                    each["LogicalResourceId"],
                    each["ResourceType"],
                    each.get("PhysicalResourceId", ""),
                    differences,
                    deleted=each["StackResourceDriftStatus"] == "DELETED",
                )
            )
        if not page.get("NextToken"):
            return tuple(found)
        request["NextToken"] = page["NextToken"]
