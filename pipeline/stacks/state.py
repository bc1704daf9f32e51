"""The state of a deployed stack, read into a value."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core.errors import NextStep, StackError


class StackStatus(StrEnum):
    """Every status of CloudFormation's API (botocore service model), and ABSENT if there is no stack."""

    ABSENT = "ABSENT"
    CREATE_IN_PROGRESS = "CREATE_IN_PROGRESS"
    CREATE_FAILED = "CREATE_FAILED"
    CREATE_COMPLETE = "CREATE_COMPLETE"
    ROLLBACK_IN_PROGRESS = "ROLLBACK_IN_PROGRESS"
    ROLLBACK_FAILED = "ROLLBACK_FAILED"
    ROLLBACK_COMPLETE = "ROLLBACK_COMPLETE"
    DELETE_IN_PROGRESS = "DELETE_IN_PROGRESS"
    DELETE_FAILED = "DELETE_FAILED"
    DELETE_COMPLETE = "DELETE_COMPLETE"
    UPDATE_IN_PROGRESS = "UPDATE_IN_PROGRESS"
    UPDATE_COMPLETE_CLEANUP_IN_PROGRESS = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
    UPDATE_COMPLETE = "UPDATE_COMPLETE"
    UPDATE_FAILED = "UPDATE_FAILED"
    UPDATE_ROLLBACK_IN_PROGRESS = "UPDATE_ROLLBACK_IN_PROGRESS"
    UPDATE_ROLLBACK_FAILED = "UPDATE_ROLLBACK_FAILED"
    UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"
    UPDATE_ROLLBACK_COMPLETE = "UPDATE_ROLLBACK_COMPLETE"
    REVIEW_IN_PROGRESS = "REVIEW_IN_PROGRESS"
    IMPORT_IN_PROGRESS = "IMPORT_IN_PROGRESS"
    IMPORT_COMPLETE = "IMPORT_COMPLETE"
    IMPORT_ROLLBACK_IN_PROGRESS = "IMPORT_ROLLBACK_IN_PROGRESS"
    IMPORT_ROLLBACK_FAILED = "IMPORT_ROLLBACK_FAILED"
    IMPORT_ROLLBACK_COMPLETE = "IMPORT_ROLLBACK_COMPLETE"

    @property
    def in_progress(self) -> bool:
        """An operation is in progress. Not REVIEW_IN_PROGRESS, which waits for a change set to be executed."""
        return self.value.endswith("_IN_PROGRESS") and self is not StackStatus.REVIEW_IN_PROGRESS

    @property
    def gone(self) -> bool:
        return self in (StackStatus.ABSENT, StackStatus.DELETE_COMPLETE)

    @property
    def updatable(self) -> bool:
        """CloudFormation accepts an update in this status (AWS documentation, stack status codes)."""
        return self in UPDATABLE


UPDATABLE = frozenset(
    {
        StackStatus.CREATE_COMPLETE,
        StackStatus.UPDATE_COMPLETE,
        StackStatus.UPDATE_ROLLBACK_COMPLETE,
        StackStatus.IMPORT_COMPLETE,
        StackStatus.IMPORT_ROLLBACK_COMPLETE,
    }
)


@dataclass(frozen=True, slots=True)
class ChangeSetSummary:
    """A change set that waits on a stack.

    age        seconds, by CloudFormation's own clock
    abandoned  it was made on this machine by a process that is gone
    """

    name: str
    change_set_id: str
    status: str
    age: float
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class StackAge:
    """When a stack was created, or its last update began, with its tags; busy: it is being changed."""

    tags: Mapping[str, str]
    changed: datetime
    busy: bool


@dataclass(frozen=True, slots=True)
class StackState:
    """A stack at the time it was read.

    template     the deployed template as canonical JSON; "" if the stack cannot be updated
    age          None for a stack that does not exist
    change_sets  only for REVIEW_IN_PROGRESS: the pending change sets
    """

    name: str
    status: StackStatus
    reason: str = ""
    stack_id: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    template: str = ""
    termination_protection: bool = False
    change_sets: tuple[ChangeSetSummary, ...] = ()
    age: StackAge | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class StackOutputs:
    """The outputs of a stack that is as wanted. changed: False if nothing had to be done.

    >>> StackOutputs("registry", "arn:…", {"Uri": "x"}, changed=False)["Uri"]
    'x'
    """

    stack: str
    stack_id: str
    values: Mapping[str, str]
    changed: bool

    def __getitem__(self, key: str) -> str:
        """Raises StackError if the stack has no such output."""
        try:
            return self.values[key]
        except KeyError:
            have = ", ".join(sorted(self.values)) or "none"
            raise StackError(
                f"the output {key} was not read",
                f"the stack {self.stack} has no such output; it has: {have}",
                NextStep("Deploy the stack with this version's template", ("up",)),
            ) from None


def canonical_template(template: str | Mapping[str, Any]) -> str:
    """The template as JSON with sorted keys, so equal templates have equal text. YAML is returned unchanged."""
    if isinstance(template, str):
        try:
            template = json.loads(template)
        except ValueError:
            return str(template)
    return json.dumps(template, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_stack(cfn: Any, name: str) -> StackState:
    """Read the stack with this name or id; its status is ABSENT if there is none.

    Calls DescribeStacks, and GetTemplate if the stack can be updated, so that changes made elsewhere are noticed.
    Raises StackError for an unknown status.
    """
    found = _describe(cfn, name)
    if found is None:
        return StackState(name, StackStatus.ABSENT)
    status = parse_status(found["StackName"], found["StackStatus"])
    return StackState(
        name=found["StackName"],
        status=status,
        reason=found.get("StackStatusReason", ""),
        stack_id=found["StackId"],
        # A parameter of an SSM type has the name of the SSM parameter here; a change set compares those.
        parameters={each["ParameterKey"]: each.get("ParameterValue", "") for each in found.get("Parameters", [])},
        outputs={each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])},
        tags={each["Key"]: each["Value"] for each in found.get("Tags", [])},
        template=_read_template(cfn, found["StackId"]) if status.updatable else "",
        termination_protection=found.get("EnableTerminationProtection", False),
        change_sets=read_change_sets(cfn, found["StackName"]) if status is StackStatus.REVIEW_IN_PROGRESS else (),
        age=age_of(found),
    )


def age_of(found: Mapping[str, Any]) -> StackAge:
    """From a stack as DescribeStacks has it."""
    return StackAge(
        {each["Key"]: each["Value"] for each in found.get("Tags", [])},
        found.get("LastUpdatedTime") or found["CreationTime"],
        found["StackStatus"].endswith("_IN_PROGRESS"),
    )


def read_outputs(cfn: Any, stack_id: str, *, changed: bool) -> StackOutputs:
    """The outputs of a stack. Raises StackError if it is gone."""
    found = _describe(cfn, stack_id)
    if found is None:
        raise StackError(
            f"the outputs of {stack_id} were not read",
            "the stack was deleted in the meantime",
            NextStep("Deploy it again", ("up",)),
        )
    values = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
    return StackOutputs(found["StackName"], found["StackId"], values, changed=changed)


def read_status(cfn: Any, stack_id: str) -> StackStatus:
    found = _describe(cfn, stack_id)
    return StackStatus.ABSENT if found is None else parse_status(found["StackName"], found["StackStatus"])


def parse_status(name: str, text: str) -> StackStatus:
    try:
        return StackStatus(text)
    except ValueError:
        raise StackError(
            f"the stack {name} was not read",
            f"it has the unknown status {text}",
            "Update this tool, or bring the stack to a known status in the CloudFormation console.",
        ) from None


def says_absent(problem: ClientError) -> bool:
    """Whether the error means that there is no such stack, for which CloudFormation has no error code."""
    error = problem.response.get("Error", {})
    return error.get("Code") == "ValidationError" and "does not exist" in error.get("Message", "")


def read_change_sets(cfn: Any, stack: str) -> tuple[ChangeSetSummary, ...]:
    """All change sets of a stack, whoever created them."""
    found: list[ChangeSetSummary] = []
    request: dict[str, str] = {"StackName": stack}
    while True:
        try:
            page = cfn.list_change_sets(**request)
        except ClientError as problem:
            if says_absent(problem):
                return ()
            raise
        now = served_at(page)
        found += [
            ChangeSetSummary(
                name=each["ChangeSetName"],
                change_set_id=each["ChangeSetId"],
                status=each["Status"],
                age=(now - each["CreationTime"]).total_seconds(),
                abandoned=is_abandoned(each.get("Description", "")),
            )
            for each in page.get("Summaries", [])
        ]
        if not page.get("NextToken"):
            return tuple(found)
        request["NextToken"] = page["NextToken"]


def maker() -> str:
    """A description for change sets that names user, host and process; ``is_abandoned`` reads it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"by {user} on {socket.gethostname()}, process {os.getpid()}"


def is_abandoned(description: str) -> bool:
    """Whether the process in a ``maker`` description ran on this machine and has ended; False if unknown."""
    made = re.fullmatch(r"by \S+ on (\S+), process (\d+)", description)
    if made is None or made[1] != socket.gethostname():
        return False
    try:
        os.kill(int(made[2]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False  # it runs as another user
    return False


def _describe(cfn: Any, name: str) -> Any:
    try:
        return cfn.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as problem:
        if says_absent(problem):
            return None
        raise


def _read_template(cfn: Any, stack_id: str) -> str:
    return canonical_template(cfn.get_template(StackName=stack_id, TemplateStage="Original")["TemplateBody"])


def served_at(response: Mapping[str, Any]) -> datetime:
    """The server's time, so that ages do not depend on this machine's clock."""
    date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date) if date else datetime.now(UTC)
