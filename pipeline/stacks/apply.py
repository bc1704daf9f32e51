"""Execute a plan, planning again until the stack is as wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, assert_never

from botocore.exceptions import ClientError

from pipeline.core.aws_answers import error_code
from pipeline.core.errors import NextStep, StackError
from pipeline.core.events import Note, Report, ignore
from pipeline.stacks.changeset import (
    DONE,
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
from pipeline.stacks.existing import import_template
from pipeline.stacks.failures import StackFailed, explain, missing_images, read_failures, stack_failed
from pipeline.stacks.follow import Deadline, Pause, Settled, follow, wait_until_settled
from pipeline.stacks.plan import (
    Adopt,
    CleanUpReview,
    ContinueRollback,
    Create,
    ExistingResource,
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

# Retries after transient failures.
_RETRIES = 2
_GOOD = (StackStatus.CREATE_COMPLETE, StackStatus.UPDATE_COMPLETE, StackStatus.IMPORT_COMPLETE)


def apply_stack(
    cfn: Any,
    plan: StackPlan,
    report: Report = ignore,
    *,
    timeout: float = 3600.0,
    approve: Callable[[Update], None] | None = None,
    existing: Callable[[str], tuple[ExistingResource, ...]] | None = None,
    upload: Upload | None = None,
) -> StackOutputs:
    """Bring a stack to what its plan wants and return its outputs.

    Safe to repeat and to run concurrently: it waits for another deployment of the stack, deletes and recreates a failed
    creation, continues a failed rollback, and after each of these plans again from the new state.

    timeout   seconds for everything together
    approve   called before each update, including those planned on the way; it raises to abort
    existing  for a stack that turns out to be gone: gives the resources to import (``find_existing``)
    upload    uploads a template that is too large for a request and gives its URL
              (``templates_bucket.upload_template``); without it such a template is an error

    Raises StackFailed with the first cause reported by AWS, and StackError for a refused plan or the timeout.
    """
    deadline = Deadline(timeout)
    run = _Run(cfn, report, deadline, upload)
    pause, retries, changed = Pause(deadline), _RETRIES, False
    while True:
        try:
            match plan:
                case NoChange(state=state):
                    return StackOutputs(state.name, state.stack_id, state.outputs, changed=changed)
                case Refuse(wanted=wanted, reason=reason, next_step=next_step):
                    raise StackError(f"the stack {wanted.name} was not changed", reason, next_step)
                case Wait(state=state):
                    report(Note(f"{state.name} is in {state.status}; waiting for it to end"))
                    wait_until_settled(cfn, state.name, state.stack_id, report, deadline)
                    pause(state.name)
                case ReplaceFailed(state=state):
                    run.replace(state)
                    changed = True
                case ContinueRollback():
                    run.roll_back(plan)
                    changed = True
                case Create(wanted=wanted):
                    return run.execute(wanted, "CREATE", wanted.name)
                case Adopt(wanted=wanted):
                    report(Note(f"{wanted.name} imports {', '.join(each.logical_id for each in wanted.existing)}"))
                    run.execute(_import_only(wanted), "IMPORT", wanted.name)
                    changed = True
                case CleanUpReview(wanted=wanted, state=state):
                    drop_leftovers(cfn, state.change_sets)
                    return run.execute(wanted, "CREATE", wanted.name)
                case Update(wanted=wanted, state=state):
                    if approve is not None:
                        approve(plan)
                    outputs = run.execute(wanted, "UPDATE", state.stack_id)
                    return replace(outputs, changed=outputs.changed or changed)
                case _:
                    assert_never(plan)
        except Overtaken as overtaken:
            report(Note(f"another deployment changed {plan.wanted.name} ({overtaken}); planning again"))
            pause(plan.wanted.name)
        except StackFailed as failed:
            if retries == 0 or not failed.transient or failed.status is StackStatus.UPDATE_ROLLBACK_FAILED:
                raise
            retries -= 1
            report(Note(f"{failed.why}; a transient failure, trying again"))
            changed = True
            pause(plan.wanted.name)
        state, wanted = read_stack(cfn, plan.wanted.name), plan.wanted
        if existing is not None and state.status.gone:
            wanted = replace(wanted, existing=existing(wanted.template_body))
        plan = plan_stack(state, wanted)


@dataclass(frozen=True, slots=True)
class _Run:
    """The operations on CloudFormation that a plan leads to."""

    cfn: Any
    report: Report
    deadline: Deadline
    upload: Upload | None

    def execute(self, wanted: WantedStack, kind: Kind, target: str) -> StackOutputs:
        """Create a change set, execute it and follow it to its end."""
        made = make_change_set(self.cfn, wanted, kind, target, self.deadline, self.upload)
        if wanted.revert_drift and kind == "UPDATE" and not made.drift_aware:
            self.report(Note(f"CloudFormation has no drift-aware change sets here; {wanted.name} reverts no drift"))
        if made.empty:
            return read_outputs(self.cfn, made.stack_id, changed=False)
        token = unique_name()
        with dropped_on_failure(self.cfn, made):
            _start(self.cfn, made, token)
        settled = follow(self.cfn, wanted.name, made.stack_id, token, self.report, self.deadline)
        if settled.status in _GOOD:
            return read_outputs(self.cfn, made.stack_id, changed=True)
        if not settled.events and settled.status.updatable:
            raise Overtaken("none of its events came from this run")
        if settled.status is StackStatus.ABSENT:
            raise Overtaken("the stack was deleted or replaced")
        what = f"the stack {wanted.name} was not {DONE[kind]}"
        raise stack_failed(self.cfn, what, wanted.name, made.stack_id, settled, _advice(settled))

    def replace(self, state: StackState) -> None:
        """Delete a stack whose creation failed, after reporting why it failed."""
        why = explain(read_failures(self.cfn, state.stack_id), state.reason)
        self.report(Note(f"{state.name} is in {state.status} ({why}); it is deleted and recreated"))
        delete_stack(self.cfn, state.stack_id, self.report, timeout=max(1.0, self.deadline.left))

    def roll_back(self, plan: ContinueRollback) -> None:
        """Complete a rollback to the previous version. Raises StackFailed if a resource cannot be rolled back."""
        state, token = plan.state, unique_name()
        self.report(Note(f"{state.name} is in {state.status} ({state.reason or 'no reason given'}); rolling it back"))
        call = self.cfn.rollback_stack if plan.call == "RollbackStack" else self.cfn.continue_update_rollback
        with overtaken_by_others():
            try:
                call(StackName=state.stack_id, ClientRequestToken=token)
            except ClientError as problem:
                if "current stack status" in str(problem):
                    raise Overtaken(str(problem)) from problem
                raise
        settled = follow(self.cfn, state.name, state.stack_id, token, self.report, self.deadline)
        if settled.status in (StackStatus.UPDATE_ROLLBACK_COMPLETE, StackStatus.ROLLBACK_COMPLETE):
            return
        failed = stack_failed(
            self.cfn, f"the stack {state.name} was not rolled back", state.name, state.stack_id, settled,
            _advice(settled),
        )  # fmt: skip
        if images := missing_images(failed.failures):
            failed.next_step = NextStep(
                f"Push {', '.join(map(str, images))} again by digest, then run the same command again."
            )
        raise failed


def _import_only(wanted: WantedStack) -> WantedStack:
    """The stack with its existing resources alone; the update that follows adds the rest."""
    return replace(wanted, template_body=import_template(wanted.template_body, wanted.existing), parameters={})


def _start(cfn: Any, made: ChangeSet, token: str) -> None:
    """Execute a change set. One that already runs, because the response to the first request was lost, is fine."""
    with overtaken_by_others():
        try:
            cfn.execute_change_set(
                ChangeSetName=made.change_set_id,
                ClientRequestToken=token,
                # Also delete what a failed operation created, or its fixed names would block the next attempt.
                RetainExceptOnCreate=True,
            )
        except ClientError as problem:
            if error_code(problem) != "InvalidChangeSetStatus":
                raise
            found = cfn.describe_change_set(ChangeSetName=made.change_set_id)
            if found["ExecutionStatus"] not in ("EXECUTE_IN_PROGRESS", "EXECUTE_COMPLETE", "EXECUTE_FAILED"):
                raise


def _advice(settled: Settled) -> str:
    match settled.status:
        case StackStatus.UPDATE_ROLLBACK_COMPLETE:
            return "The previous version is still running. Fix the cause, then run the same command again."
        case StackStatus.UPDATE_ROLLBACK_FAILED:
            return "Fix the cause, then run the same command again: it continues the rollback first."
    return "Fix the cause, then run the same command again: it deletes the remains and starts over."
