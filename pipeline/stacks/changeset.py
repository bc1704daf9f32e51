"""Change sets: every creation, update and preview of a stack uses one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from cfn.render import TEMPLATE_BODY_MAX
from pipeline.core.aws_answers import error_code
from pipeline.core.errors import StackError
from pipeline.stacks.failures import StackFailed, explain, validation_failures
from pipeline.stacks.follow import Deadline, Pause
from pipeline.stacks.plan import WantedStack
from pipeline.stacks.state import ChangeSetSummary, StackStatus, maker, read_change_sets, read_status

Kind = Literal["CREATE", "UPDATE", "IMPORT"]
# What a failure of each kind did not do.
DONE = {"CREATE": "created", "UPDATE": "updated", "IMPORT": "created from existing resources"}
# Uploads a template that is too large for a request and gives a URL that CloudFormation can read.
Upload = Callable[[str], str]
PREFIX = "transaction-pipeline-"
# Reasons of an empty change set, for which CloudFormation has no error code (AWS documentation, and seen).
_EMPTY = ("The submitted information didn't contain changes", "No updates are to be performed")
# Error messages that mean that another deployment was faster: read the stack again.
_BUSY = re.compile(
    r"is in \S+ state and can ?not be updated"
    r"|\b(?:stack|change ?set)\b[^.]*\bdoes not exist"  # not a bucket, a role or an image
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
    """The stack has changed since it was read: read it and plan again."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A complete change set.

    empty        it changes nothing
    drift_aware  it compares with the actual state of the resources
    """

    change_set_id: str
    stack: str
    stack_id: str
    kind: Kind
    empty: bool = False
    drift_aware: bool = False


def unique_name() -> str:
    """A unique name for a change set, also usable as a client request token."""
    return f"{PREFIX}{uuid.uuid4().hex[:24]}"


@contextmanager
def overtaken_by_others() -> Iterator[None]:
    """Turn errors that mean that another deployment was faster into Overtaken."""
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
    """Create a change set and wait for it; an empty or failed one is deleted.

    target  the name of the stack, or its id for an update
    kind    IMPORT takes ``wanted.existing`` into a new stack, whose template has nothing else (``import_template``)

    Raises Overtaken, StackFailed with CloudFormation's findings, and StackError for a large template without
    ``upload``.
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
        **_mode(wanted, kind),
        "Description": maker(),
    }
    if kind == "IMPORT":
        # An import sets no tags; the update that follows does (CloudFormation user guide, Import AWS resources).
        request["ResourcesToImport"] = [
            {
                "ResourceType": each.resource_type,
                "LogicalResourceId": each.logical_id,
                "ResourceIdentifier": dict(each.identifier),
            }
            for each in wanted.existing
        ]
    else:
        request["Tags"] = [{"Key": key, "Value": value} for key, value in sorted(wanted.tags.items())]
    with overtaken_by_others():
        try:
            made = cfn.create_change_set(**request)
        except ClientError as problem:
            made = _made_already(cfn, problem, target, name)
    change_set = ChangeSet(made["Id"], wanted.name, made["StackId"], kind)
    with dropped_on_failure(cfn, change_set):
        return _wait_for(cfn, change_set, deadline)


def _mode(wanted: WantedStack, kind: Kind) -> dict[str, Any]:
    """How the change set is made and executed; a failed operation is always rolled back.

    Explicit, because the API has exclusive ways to set it, with different defaults: express mode does not roll back
    unless ``DisableRollback`` is False (CloudFormation user guide, "Deploy stacks faster with express mode"; B
    DeploymentConfig). A rolled back stack keeps its events and the previous version.
    """
    mode: dict[str, Any] = {"OnStackFailure": "ROLLBACK"}
    if kind == "UPDATE" and wanted.express:
        mode = {"DeploymentConfig": {"Mode": "EXPRESS", "DisableRollback": False}}
    return {**mode, "DeploymentMode": "REVERT_DRIFT"} if kind == "UPDATE" and wanted.revert_drift else mode


def _template(wanted: WantedStack, upload: Upload | None) -> dict[str, str]:
    """The template in the request, or uploaded if it is too large for that."""
    size = len(wanted.template_body.encode())
    if size <= TEMPLATE_BODY_MAX:
        return {"TemplateBody": wanted.template_body}
    if upload is None:
        raise StackError(
            f"the stack {wanted.name} was not changed",
            f"its template has {size:,} bytes, a request holds {TEMPLATE_BODY_MAX:,}, and there is no bucket",
            "Pass ``upload``, such as pipeline.stacks.templates_bucket.upload_template.",
        )
    return {"TemplateURL": upload(wanted.template_body)}


@contextmanager
def dropped_on_failure(cfn: Any, change_set: ChangeSet) -> Iterator[None]:
    """Delete the change set, and the empty stack that it created, if the block fails or is interrupted."""
    try:
        yield
    except BaseException:
        # Report the first failure; the next run cleans up.
        with suppress(BotoCoreError, ClientError):
            drop_change_set(cfn, change_set)
        raise


def drop_change_set(cfn: Any, change_set: ChangeSet) -> None:
    """Delete a change set and, for a new stack, that REVIEW_IN_PROGRESS stack if it has no other change set."""
    try:
        cfn.delete_change_set(ChangeSetName=change_set.change_set_id)
    except ClientError as problem:
        if error_code(problem) not in ("ChangeSetNotFound", "InvalidChangeSetStatus"):
            raise
    if change_set.kind == "UPDATE" or read_status(cfn, change_set.stack_id) is not StackStatus.REVIEW_IN_PROGRESS:
        return
    others = [
        each for each in read_change_sets(cfn, change_set.stack) if each.change_set_id != change_set.change_set_id
    ]
    if not others:
        cfn.delete_stack(StackName=change_set.stack_id)


def drop_leftovers(cfn: Any, leftovers: Iterable[ChangeSetSummary]) -> None:
    """Delete the change sets that this tool created; CloudFormation drops others once one is executed."""
    for each in leftovers:
        if each.name.startswith(PREFIX):
            with overtaken_by_others():
                cfn.delete_change_set(ChangeSetName=each.change_set_id)


def _wait_for(cfn: Any, change_set: ChangeSet, deadline: Deadline) -> ChangeSet:
    pause = Pause(deadline, longest=2.0)
    while True:
        with overtaken_by_others():
            found = cfn.describe_change_set(ChangeSetName=change_set.change_set_id)
        # Absent where drift-aware change sets are not offered: the request is then taken for an ordinary one.
        change_set = replace(change_set, drift_aware=found.get("DeploymentMode") == "REVERT_DRIFT")
        match found["Status"]:
            case "CREATE_COMPLETE":
                return change_set
            case "FAILED":
                reason = found.get("StatusReason", "")
                if reason.startswith(_EMPTY):
                    drop_change_set(cfn, change_set)
                    return replace(change_set, empty=True)
                failures = validation_failures(cfn, ChangeSetName=change_set.change_set_id)
                raise StackFailed(
                    f"the stack {change_set.stack} was not {DONE[change_set.kind]}, and nothing was changed",
                    explain(failures, reason),
                    "Fix it, then run the same command again.",
                    stack=change_set.stack,
                    failures=failures,
                )
            case "DELETE_PENDING" | "DELETE_IN_PROGRESS" | "DELETE_COMPLETE" | "DELETE_FAILED":
                raise Overtaken(f"the change set {change_set.change_set_id} is being deleted")
        pause(change_set.stack)


def _made_already(cfn: Any, problem: ClientError, target: str, name: str) -> Any:
    """The change set that an earlier attempt of the same request created, if botocore retried it."""
    if error_code(problem) != "AlreadyExistsException":
        raise problem
    try:
        found = cfn.describe_change_set(StackName=target, ChangeSetName=name)
    except ClientError:
        raise problem from None
    return {"Id": found["ChangeSetId"], "StackId": found["StackId"]}
