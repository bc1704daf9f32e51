"""Carry a decision out, and go on deciding until the stack stands as it was wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, assert_never

from botocore.exceptions import ClientError

from pipeline.core.errors import NextStep, StackError
from pipeline.core.events import Note, Report, ignore
from pipeline.stacks.changeset import (
    ChangeSet,
    Kind,
    Overtaken,
    Upload,
    drop_leftovers,
    dropped_on_failure,
    make_change_set,
    overtaken_by_others,
    unique_name,
)
from pipeline.stacks.deletion import delete_stack
from pipeline.stacks.existing import with_retained
from pipeline.stacks.failures import StackFailed, explain, missing_images, read_failures, stack_failed
from pipeline.stacks.follow import Deadline, Pause, follow, wait_until_settled
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
    plan_stack,
)
from pipeline.stacks.state import StackOutputs, StackState, StackStatus, read_outputs, read_stack

# How often a failure that passes by itself is met with another try.
_SECOND_TRIES = 2
_GOOD = (StackStatus.CREATE_COMPLETE, StackStatus.UPDATE_COMPLETE)


def apply_stack(
    cfn: Any,
    plan: StackPlan,
    report: Report = ignore,
    *,
    timeout: float = 3600.0,
    approve: Callable[[Update], None] | None = None,
    existing: Callable[[str], tuple[str, ...]] | None = None,
    upload: Upload | None = None,
) -> StackOutputs:
    """Bring the stack where ``plan`` wants it and give its outputs.

    Safe to repeat and safe beside others: a stack that somebody else works on is waited for, a failed creation is
    deleted and made anew, a failed rollback is continued, and after each of these the decision is made again from
    what then stands. ``timeout`` in seconds for all of it.

    approve   sees every update before it is begun, also one that is decided on the way; raises what ends the run
    existing  for a stack that turns out to be gone: the logical ids of its template to adopt (``find_existing``)
    upload    takes a template that is too large to be sent and gives its URL (``templates_bucket.upload_template``);
              without it such a template is an error

    Raises StackFailed with the first cause in AWS's own words, and StackError for a refused plan or the deadline.
    """
    deadline = Deadline(timeout)
    pause, second_tries, changed = Pause(deadline), _SECOND_TRIES, False

    def execute(wanted: WantedStack, kind: Kind, target: str) -> StackOutputs:
        return _execute(cfn, wanted, kind, target, report, deadline, upload)

    while True:
        try:
            match plan:
                case NoChange(state=state):
                    return StackOutputs(state.name, state.stack_id, state.outputs, changed=changed)
                case Refuse(wanted=wanted, reason=reason, next_step=next_step):
                    raise StackError(f"the stack {wanted.name} was not changed", reason, next_step)
                case Wait(state=state):
                    report(Note(f"{state.name} is in {state.status}; waiting until that is over"))
                    wait_until_settled(cfn, state.name, state.stack_id, report, deadline)
                    pause(state.name)
                case ReplaceFailed(state=state):
                    _replace(cfn, state, report, deadline)
                    changed = True
                case ContinueRollback():
                    _roll_back(cfn, plan, report, deadline)
                    changed = True
                case Create(wanted=wanted):
                    return execute(wanted, "CREATE", wanted.name)
                case Adopt(wanted=wanted):
                    report(Note(f"{wanted.name} adopts {', '.join(wanted.existing)}"))
                    execute(_adopting(wanted), "CREATE", wanted.name)
                    changed = True
                case CleanUpReview(wanted=wanted, state=state):
                    drop_leftovers(cfn, state.change_sets)
                    return execute(wanted, "CREATE", wanted.name)
                case Update(wanted=wanted, state=state):
                    if approve is not None:
                        approve(plan)
                    outputs = execute(wanted, "UPDATE", state.stack_id)
                    return replace(outputs, changed=outputs.changed or changed)
                case _:
                    assert_never(plan)
        except Overtaken as overtaken:
            report(Note(f"{plan.wanted.name} was changed by somebody else ({overtaken}); looking again"))
            pause(plan.wanted.name)
        except StackFailed as failed:
            if second_tries == 0 or not failed.passing or failed.status is StackStatus.UPDATE_ROLLBACK_FAILED:
                raise
            second_tries -= 1
            report(Note(f"{failed.why}; this passes by itself, trying again"))
            changed = True
            pause(plan.wanted.name)
        state, wanted = read_stack(cfn, plan.wanted.name), plan.wanted
        if existing is not None and state.status.gone:
            wanted = replace(wanted, existing=existing(wanted.template_body))
        plan = plan_stack(state, wanted)


def _execute(
    cfn: Any, wanted: WantedStack, kind: Kind, target: str, report: Report, deadline: Deadline, upload: Upload | None
) -> StackOutputs:
    """Make a change set, execute it, follow it to its end."""
    made = make_change_set(cfn, wanted, kind, target, deadline, upload)
    if made.empty:
        return read_outputs(cfn, made.stack_id, changed=False)
    token = unique_name()
    with dropped_on_failure(cfn, made):
        _start(cfn, made, token)
    settled = follow(cfn, wanted.name, made.stack_id, token, report, deadline)
    if settled.status in _GOOD:
        return read_outputs(cfn, made.stack_id, changed=True)
    if not settled.events and settled.status.updatable:
        raise Overtaken("none of its events came from this run")
    if settled.status is StackStatus.ABSENT:
        raise Overtaken("another stack is in its place, or none")
    verb = "created" if kind == "CREATE" else "updated"
    raise stack_failed(
        cfn, f"the stack {wanted.name} was not {verb}", wanted.name, made.stack_id, settled.status, settled.events,
        _advice(settled.status),
    )  # fmt: skip


def _adopting(wanted: WantedStack) -> WantedStack:
    """The stack around what exists. Where the template would not retain it, the next decision is an update."""
    return replace(wanted, template_body=with_retained(wanted.template_body, wanted.existing))


def _start(cfn: Any, made: ChangeSet, token: str) -> None:
    """Execute a change set. One whose answer was lost and that runs already is as good as started now."""
    with overtaken_by_others():
        try:
            cfn.execute_change_set(
                ChangeSetName=made.change_set_id,
                ClientRequestToken=token,
                # What a failed operation newly made goes with it, else its fixed names would block the next try.
                RetainExceptOnCreate=True,
            )
        except ClientError as problem:
            if problem.response.get("Error", {}).get("Code") != "InvalidChangeSetStatus":
                raise
            found = cfn.describe_change_set(ChangeSetName=made.change_set_id)
            if found["ExecutionStatus"] not in ("EXECUTE_IN_PROGRESS", "EXECUTE_COMPLETE", "EXECUTE_FAILED"):
                raise


def _replace(cfn: Any, state: StackState, report: Report, deadline: Deadline) -> None:
    """Delete a stack that failed to come up, and say why it had failed before its story is gone."""
    why = explain(read_failures(cfn, state.stack_id), state.reason)
    report(Note(f"{state.name} is in {state.status} ({why}); it is deleted and made anew"))
    delete_stack(cfn, state.stack_id, report, timeout=max(1.0, deadline.left))


def _roll_back(cfn: Any, plan: ContinueRollback, report: Report, deadline: Deadline) -> None:
    """Finish a rollback; the stack then runs what it ran before. Raises StackFailed when a resource refuses."""
    state, token = plan.state, unique_name()
    report(Note(f"{state.name} is in {state.status} ({state.reason or 'no reason given'}); rolling it back"))
    with overtaken_by_others():
        try:
            if plan.call == "RollbackStack":
                cfn.rollback_stack(StackName=state.stack_id, ClientRequestToken=token)
            else:
                cfn.continue_update_rollback(StackName=state.stack_id, ClientRequestToken=token)
        except ClientError as problem:
            if "current stack status" in str(problem):
                raise Overtaken(str(problem)) from problem
            raise
    settled = follow(cfn, state.name, state.stack_id, token, report, deadline)
    if settled.status in (StackStatus.UPDATE_ROLLBACK_COMPLETE, StackStatus.ROLLBACK_COMPLETE):
        return
    failed = stack_failed(
        cfn, f"the stack {state.name} was not rolled back", state.name, state.stack_id, settled.status, settled.events,
        _advice(settled.status),
    )  # fmt: skip
    if images := missing_images(failed.failures):
        failed.next_step = NextStep(
            f"Push {', '.join(map(str, images))} back by its digest, then run the same command again."
        )
    raise failed


def _advice(status: StackStatus) -> str:
    if status is StackStatus.UPDATE_ROLLBACK_COMPLETE:
        return "Everything runs as before. Mend the cause, then run the same command again."
    if status is StackStatus.UPDATE_ROLLBACK_FAILED:
        return "Mend the cause, then run the same command again: it continues the rollback first."
    return "Mend the cause, then run the same command again: it removes what is left and starts anew."
