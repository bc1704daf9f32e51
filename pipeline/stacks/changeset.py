"""Change sets: the only way in which a stack is created, updated or looked at before."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from cfn.render import TEMPLATE_BODY_MAX
from pipeline.core.errors import StackError
from pipeline.stacks.failures import StackFailed, explain, validation_failures
from pipeline.stacks.follow import Deadline, Pause
from pipeline.stacks.plan import WantedStack
from pipeline.stacks.state import ChangeSetSummary, StackStatus, maker, read_change_sets, read_status

Kind = Literal["CREATE", "UPDATE"]
# Puts a template that is too large to be sent where CloudFormation can read it, and gives its URL.
Upload = Callable[[str], str]
PREFIX = "transaction-pipeline-"
# Both texts mean that there is nothing to do; CloudFormation has no code for it (AWS documentation, and seen).
_EMPTY = ("The submitted information didn't contain changes", "No updates are to be performed")
# What CloudFormation answers when somebody else was faster; each leads to reading the stack anew.
_BUSY = re.compile(
    r"is in \S+ state and can ?not be updated"
    r"|does not exist"
    r"|cannot be executed in its current"
    r"|is in \S+_IN_PROGRESS state"
    r"|already exists",
    re.IGNORECASE,
)
_OVERTAKEN_CODES = {
    "AlreadyExistsException",
    "ChangeSetNotFound",
    "InvalidChangeSetStatus",
    "OperationInProgressException",
    "StaleRequestException",
    "TokenAlreadyExistsException",
}


class Overtaken(Exception):
    """The stack is no longer as it was when the decision was made: read it anew and decide again."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A change set that CloudFormation finished making. ``empty``: there is nothing to do."""

    change_set_id: str
    stack: str
    stack_id: str
    kind: Kind
    empty: bool = False


def unique_name() -> str:
    """A name for a change set, also good as a request token; never used twice, so two runs never meet in one."""
    return f"{PREFIX}{uuid.uuid4().hex[:24]}"


@contextmanager
def overtaken_by_others() -> Iterator[None]:
    """Turn CloudFormation's answers that mean "somebody was faster" into Overtaken."""
    try:
        yield
    except ClientError as problem:
        error = problem.response.get("Error", {})
        code, message = error.get("Code", ""), error.get("Message", "")
        if code in _OVERTAKEN_CODES or (code == "ValidationError" and _BUSY.search(message)):
            raise Overtaken(message) from problem
        raise


def make_change_set(
    cfn: Any, wanted: WantedStack, kind: Kind, target: str, deadline: Deadline, upload: Upload | None = None
) -> ChangeSet:
    """Make a change set for ``wanted`` on the stack ``target`` (its name, or its id for an update) and wait for it.

    An empty one, and one that CloudFormation could not make, is deleted again. Raises Overtaken, StackFailed with what
    CloudFormation found wrong, and StackError for a template that is too large without ``upload``.
    """
    name = unique_name()
    request: dict[str, Any] = {
        "StackName": target,
        "ChangeSetName": name,
        "ChangeSetType": kind,
        "ClientToken": name,
        **_template(wanted, upload),
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value} for key, value in sorted(wanted.parameters.items())
        ],
        "Capabilities": list(wanted.capabilities),
        "Tags": [{"Key": key, "Value": value} for key, value in sorted(wanted.tags.items())],
        # Said explicitly: the API's two ways to say it exclude each other, and their defaults differ
        # (API_CreateChangeSet, API_ExecuteChangeSet). Rolled back, a failed stack keeps the story of its failure and
        # runs what it ran.
        "OnStackFailure": "ROLLBACK",
        "Description": maker(),
    }
    if wanted.existing and kind == "CREATE":
        request["ImportExistingResources"] = True
    with overtaken_by_others():
        try:
            made = cfn.create_change_set(**request)
        except ClientError as problem:
            made = _made_already(cfn, problem, target, name)
    change_set = ChangeSet(made["Id"], wanted.name, made["StackId"], kind)
    with dropped_on_failure(cfn, change_set):
        return _wait_for(cfn, change_set, deadline)


def _template(wanted: WantedStack, upload: Upload | None) -> dict[str, str]:
    """How the template travels: in the request, or past it when it is too large for that."""
    size = len(wanted.template_body.encode())  # as it is sent
    if size <= TEMPLATE_BODY_MAX:
        return {"TemplateBody": wanted.template_body}
    if upload is None:
        raise StackError(
            f"the stack {wanted.name} was not changed",
            f"its template has {size:,} bytes, a request holds {TEMPLATE_BODY_MAX:,}, and there is no bucket for it",
            "Give the call an ``upload``, such as pipeline.stacks.templates_bucket.upload_template.",
        )
    return {"TemplateURL": upload(wanted.template_body)}


@contextmanager
def dropped_on_failure(cfn: Any, change_set: ChangeSet) -> Iterator[None]:
    """Whatever ends the block too early, also Ctrl-C, leaves no change set and no shell of a stack behind."""
    try:
        yield
    except BaseException:
        # The first failure is the one to tell; the next run clears up what is left.
        with suppress(BotoCoreError, ClientError):
            drop_change_set(cfn, change_set)
        raise


def drop_change_set(cfn: Any, change_set: ChangeSet) -> None:
    """Delete a change set, and for a creation the REVIEW_IN_PROGRESS shell too when nobody else's waits in it."""
    try:
        cfn.delete_change_set(ChangeSetName=change_set.change_set_id)
    except ClientError as problem:
        if problem.response.get("Error", {}).get("Code") not in ("ChangeSetNotFound", "InvalidChangeSetStatus"):
            raise
    if change_set.kind != "CREATE" or read_status(cfn, change_set.stack_id) is not StackStatus.REVIEW_IN_PROGRESS:
        return
    others = [
        each for each in read_change_sets(cfn, change_set.stack) if each.change_set_id != change_set.change_set_id
    ]
    if not others:
        cfn.delete_stack(StackName=change_set.stack_id)


def drop_leftovers(cfn: Any, leftovers: Iterable[ChangeSetSummary]) -> None:
    """Delete this tool's own change sets among ``leftovers``; executing another one ends those of other people."""
    for each in leftovers:
        if each.name.startswith(PREFIX):
            with overtaken_by_others():
                cfn.delete_change_set(ChangeSetName=each.change_set_id)


def _wait_for(cfn: Any, change_set: ChangeSet, deadline: Deadline) -> ChangeSet:
    pause = Pause(deadline, longest=2.0)
    while True:
        with overtaken_by_others():
            found = cfn.describe_change_set(ChangeSetName=change_set.change_set_id)
        match found["Status"]:
            case "CREATE_COMPLETE":
                return change_set
            case "FAILED":
                reason = found.get("StatusReason", "")
                if reason.startswith(_EMPTY):
                    drop_change_set(cfn, change_set)
                    return replace(change_set, empty=True)
                failures = validation_failures(cfn, ChangeSetName=change_set.change_set_id)
                verb = "created" if change_set.kind == "CREATE" else "updated"
                raise StackFailed(
                    f"the stack {change_set.stack} was not {verb}, and nothing was changed",
                    explain(failures, reason),
                    "Mend what it names, then run the same command again.",
                    stack=change_set.stack,
                    failures=failures,
                )
            case "DELETE_PENDING" | "DELETE_IN_PROGRESS" | "DELETE_COMPLETE" | "DELETE_FAILED":
                raise Overtaken(f"the change set {change_set.change_set_id} is being deleted")
        pause(change_set.stack)


def _made_already(cfn: Any, problem: ClientError, target: str, name: str) -> Any:
    """A request whose answer was lost is sent again by botocore and then finds its own change set."""
    if problem.response.get("Error", {}).get("Code") != "AlreadyExistsException":
        raise problem
    try:
        found = cfn.describe_change_set(StackName=target, ChangeSetName=name)
    except ClientError:
        raise problem from None
    return {"Id": found["ChangeSetId"], "StackId": found["StackId"]}
