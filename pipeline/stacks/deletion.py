"""Delete a stack: also one that is busy, that failed halfway, or that somebody else is deleting already."""

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

# A deletion that fails is tried this often: what one resource holds on to (network interfaces of functions) may be
# free a little later.
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
    """Delete the stack and wait until it is gone; False when there was none.

    retain   logical ids of resources to leave behind. At the deletion itself CloudFormation retains only what it
             failed to delete before (API_DeleteStack); ``delete_keeping`` also keeps the others.
    prepare  called before each attempt with the stack, while it can still be updated

    Raises StackFailed with the first resource that could not be deleted, and StackError for a protected stack.
    """
    deadline = Deadline(timeout)
    state = read_stack(cfn, name)
    for attempt in range(1, _ATTEMPTS + 1):
        while state.status.in_progress and state.status is not StackStatus.DELETE_IN_PROGRESS:
            report(Note(f"{state.name} is in {state.status}; its deletion waits until that is over"))
            wait_until_settled(cfn, name, state.stack_id, report, deadline)
            state = read_stack(cfn, name)
        if state.status.gone:
            return attempt > 1
        if state.termination_protection:
            raise StackError(
                f"the stack {name} was not deleted",
                "its termination protection is on",
                "If it really must go: aws cloudformation update-termination-protection"
                f" --no-enable-termination-protection --stack-name {name}",
            )
        if prepare is not None and state.status.updatable:
            prepare(state, deadline)
        last = attempt == _ATTEMPTS
        if _delete_once(cfn, state, retain, report, deadline, last=last):
            return True
        report(Note(f"{state.name} was not deleted completely; trying again"))
        Pause(deadline)(name)
        state = read_stack(cfn, state.stack_id)
    raise AssertionError("the last attempt returns or raises")


def _delete_once(
    cfn: Any, state: StackState, retain: Collection[str], report: Report, deadline: Deadline, *, last: bool
) -> bool:
    """Whether the stack is gone; raises StackFailed in the ``last`` attempt when it is not."""
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
            cfn, f"the stack {state.name} was not deleted", state.name, state.stack_id, settled.status, settled.events,
            "Remove what holds the resource, then run the same command again; it goes on from here.",
        )  # fmt: skip
    return False


def _refused(state: StackState, problem: ClientError) -> Exception:
    """CloudFormation's refusals of a deletion, such as an export that another stack imports."""
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
