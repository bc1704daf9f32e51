"""Delete a stack, including one that is busy, half deleted, or being deleted already."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core.errors import StackError
from pipeline.core.events import Note, Report, ignore
from pipeline.stacks.changeset import unique_name
from pipeline.stacks.failures import stack_failed
from pipeline.stacks.follow import Deadline, Pause, follow, wait_until_settled
from pipeline.stacks.state import StackState, StackStatus, read_stack

# Attempts at a deletion that fails: what blocks a resource, such as a function's network interface, may be gone soon.
_ATTEMPTS = 3


def delete_stack(
    cfn: Any,
    name: str,
    report: Report = ignore,
    *,
    retain: Collection[str] = (),
    prepare: Callable[[StackState, Deadline], None] | None = None,
    timeout: float = 3600.0,
) -> bool:
    """Delete a stack and wait until it is gone. Returns False if there was none.

    retain   logical ids of resources to keep if their deletion failed before; CloudFormation retains no others at
             deletion (API_DeleteStack). ``delete_keeping`` keeps any.
    prepare  called before each attempt while the stack can still be updated

    Raises StackFailed with the first resource that could not be deleted, and StackError for a protected stack.
    """
    deadline = Deadline(timeout)
    state = read_stack(cfn, name)
    for attempt in range(1, _ATTEMPTS + 1):
        while state.status.in_progress and state.status is not StackStatus.DELETE_IN_PROGRESS:
            report(Note(f"{state.name} is in {state.status}; waiting for it to end before the deletion"))
            wait_until_settled(cfn, name, state.stack_id, report, deadline)
            state = read_stack(cfn, name)
        if state.status.gone:
            return attempt > 1
        if state.termination_protection:
            raise StackError(
                f"the stack {name} was not deleted",
                "termination protection is enabled",
                "Disable it: aws cloudformation update-termination-protection"
                f" --no-enable-termination-protection --stack-name {name}",
            )
        if prepare is not None and state.status.updatable:
            prepare(state, deadline)
        last = attempt == _ATTEMPTS
        if _delete_once(cfn, state, retain, report, deadline, last=last):
            return True
        report(Note(f"{state.name} was not completely deleted; trying again"))
        Pause(deadline)(name)
        state = read_stack(cfn, state.stack_id)
    raise AssertionError("the last attempt returns or raises")


def _delete_once(
    cfn: Any, state: StackState, retain: Collection[str], report: Report, deadline: Deadline, *, last: bool
) -> bool:
    """Try to delete the stack and return whether it is gone. Raises StackFailed if the ``last`` attempt fails."""
    if state.status is StackStatus.DELETE_IN_PROGRESS:
        status = wait_until_settled(cfn, state.name, state.stack_id, report, deadline)
        return status.gone
    token = unique_name()
    request: dict[str, Any] = {"StackName": state.stack_id, "ClientRequestToken": token}
    if state.status is StackStatus.DELETE_FAILED and (kept := set(retain) & _resources_left(cfn, state.stack_id)):
        request["RetainResources"] = sorted(kept)
    try:
        cfn.delete_stack(**request)
    except ClientError as problem:
        raise _refused(state, problem) from problem
    settled = follow(cfn, state.name, state.stack_id, token, report, deadline)
    if settled.status.gone:
        return True
    if last or settled.status is not StackStatus.DELETE_FAILED:
        raise stack_failed(
            cfn, f"the stack {state.name} was not deleted", state.name, state.stack_id, settled,
            "Remove what blocks the resource, then run the same command again.",
        )  # fmt: skip
    return False


def _refused(state: StackState, problem: ClientError) -> Exception:
    """The error for a deletion that CloudFormation refuses, such as of an export that another stack imports."""
    error = problem.response.get("Error", {})
    if error.get("Code") != "ValidationError":
        return problem
    return StackError(
        f"the stack {state.name} was not deleted",
        error.get("Message", str(problem)).rstrip("."),
        "Remove what the message names, then run the same command again.",
    )


def _resources_left(cfn: Any, stack_id: str) -> set[str]:
    pages = cfn.get_paginator("list_stack_resources").paginate(StackName=stack_id)
    return {
        each["LogicalResourceId"]
        for page in pages
        for each in page["StackResourceSummaries"]
        if each["ResourceStatus"] != "DELETE_COMPLETE"
    }
