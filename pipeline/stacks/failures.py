"""Why a stack failed: the first cause as reported by AWS, and a count of the failures that followed from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core.errors import NextStep, StackError
from pipeline.oci.values import ImageReference
from pipeline.stacks.follow import Settled
from pipeline.stacks.stack_events import StackEvent, last_operation
from pipeline.stacks.state import StackStatus

# Reasons of resources that CloudFormation cancelled because another one failed.
_CANCELLED = re.compile(r"\b(?:creation|update|deletion|import) (?:was )?cancell?ed\b", re.IGNORECASE)
# Transient failures: eventual consistency of IAM, ECR and other services, and throttling. CloudFormation retries most
# of them itself.
_TRANSIENT = re.compile(
    r"cannot be assumed by Lambda"
    r"|role (?:defined|is invalid or) .*cannot be assumed"
    r"|Invalid principal in policy"
    r"|does not have permissions to call CreateNetworkInterface"
    r"|Lambda does not have permission to access the ECR image"
    r"|Source image \S+ does not exist"
    r"|Rate exceeded|Throttling|TooManyRequests|ServiceUnavailable|InternalFailure|Internal Failure"
    r"|Status Code: 5\d\d",
    re.IGNORECASE,
)
# Lambda's error for more memory than a new account allows, a quota that no call reads.
_MEMORY = re.compile(r"MemorySize.*less than or equal to (\d+)", re.IGNORECASE | re.DOTALL)
_IMAGE = re.compile(r"Source image (\S+?)\.? (?:does not exist|is not valid)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ResourceFailure:
    """A resource that failed. cancelled: only because another resource failed."""

    logical_id: str
    resource_type: str
    status: str
    reason: str
    cancelled: bool = False

    def __str__(self) -> str:
        kind = f" ({self.resource_type})" if self.resource_type else ""
        return f"{self.logical_id}{kind}: {self.reason or self.status}"


class StackFailed(StackError):
    """A failed stack operation.

    status    the status of the stack afterwards; None if nothing was started
    failures  in order, causes before cancelled resources; empty if CloudFormation reports none
    """

    def __init__(
        self,
        what: str,
        why: str,
        next_step: NextStep | str,
        *,
        stack: str = "",
        status: StackStatus | None = None,
        failures: tuple[ResourceFailure, ...] = (),
    ) -> None:
        super().__init__(what, why, next_step)
        self.stack = stack
        self.status = status
        self.failures = failures

    def __reduce__(self) -> Any:
        return type(self), (self.what, self.why, self.next_step), {
            "stack": self.stack, "status": self.status, "failures": self.failures,
        }  # fmt: skip

    @property
    def transient(self) -> bool:
        """Whether the first cause is transient, so a retry may succeed."""
        return bool(self.failures) and _TRANSIENT.search(self.failures[0].reason) is not None


def failures_of(events: Sequence[StackEvent], stack_id: str) -> tuple[ResourceFailure, ...]:
    """The failures among the ``events`` of one operation (oldest first): causes in order, then cancelled resources.

    Each resource appears once, with its first failure.
    """
    first: dict[str, ResourceFailure] = {}
    for event in events:
        if not event.status.endswith("_FAILED") or event.of_stack(stack_id) or event.logical_id in first:
            continue
        first[event.logical_id] = ResourceFailure(
            event.logical_id,
            event.resource_type,
            event.status,
            event.reason,
            cancelled=_CANCELLED.search(event.reason) is not None,
        )
    return tuple(sorted(first.values(), key=lambda failure: failure.cancelled))


def explain(failures: Sequence[ResourceFailure], otherwise: str) -> str:
    """Failures as one sentence: all causes, and the number of cancelled resources.

    otherwise  the cause if there is none among the failures
    """
    causes = [str(failure) for failure in failures if not failure.cancelled]
    cancelled = len(failures) - len(causes)
    if not causes:
        causes = [otherwise or "CloudFormation gives no reason"]
    sentence = "; then ".join(causes)
    return f"{sentence} ({cancelled} more were cancelled because of it)" if cancelled else sentence


def missing_images(failures: Iterable[ResourceFailure]) -> tuple[ImageReference, ...]:
    """The images that Lambda reported as missing."""
    found = []
    for failure in failures:
        for text in _IMAGE.findall(failure.reason):
            try:
                found.append(ImageReference.parse(text))
            except ValueError:
                continue
    return tuple(dict.fromkeys(found))


def validation_failures(cfn: Any, **scope: str) -> tuple[ResourceFailure, ...]:
    """Findings of CloudFormation's pre-deployment validation, which only DescribeEvents returns (since November 2025).

    scope  ``StackName`` or ``ChangeSetName``

    Returns () if botocore does not have the call or the caller is not allowed to make it.
    """
    if not hasattr(cfn, "describe_events"):
        return ()
    try:
        page = cfn.describe_events(**scope, Filters={"FailedEvents": True})
    except ClientError:
        return ()
    return tuple(
        ResourceFailure(
            each.get("LogicalResourceId", ""),
            each.get("ResourceType", ""),
            each.get("ValidationName", "VALIDATION_FAILED"),
            " at ".join(filter(None, (each.get("ValidationStatusReason", ""), each.get("ValidationPath", "")))),
        )
        for each in page.get("OperationEvents", [])
        if each.get("EventType") == "VALIDATION_ERROR" and each.get("ValidationFailureMode") != "WARN"
    )


def read_failures(cfn: Any, stack_id: str) -> tuple[ResourceFailure, ...]:
    """The failures of a stack's last operation."""
    events = last_operation(cfn, stack_id)
    return _with_validation(cfn, stack_id, events)


def _with_validation(cfn: Any, stack_id: str, events: Sequence[StackEvent]) -> tuple[ResourceFailure, ...]:
    failures = failures_of(events, stack_id)
    if failures and not all(failure.cancelled for failure in failures):
        return failures
    if any(event.detailed_status == "VALIDATION_FAILED" or "DescribeEvents" in event.reason for event in events):
        return validation_failures(cfn, StackName=stack_id) + failures
    return failures


def advice(failures: Sequence[ResourceFailure]) -> str:
    """The specific advice for the first cause; "" if there is none."""
    for failure in failures:
        if not failure.cancelled and (found := _MEMORY.search(failure.reason)):
            return (
                f"New accounts have at most {int(found[1]):,} MB a function. Set memory = {found[1]} or less in its"
                " function.toml, or ask AWS Support for more"
            )
    return ""


def stack_failed(cfn: Any, what: str, stack: str, stack_id: str, settled: Settled, next_step: str) -> StackFailed:
    """The error of an operation that failed, from its last status and its events."""
    failures = _with_validation(cfn, stack_id, settled.events)
    stack_reasons = [event.reason for event in settled.events if event.of_stack(stack_id) and event.reason]
    why = explain(failures, stack_reasons[-1] if stack_reasons else "")
    return StackFailed(
        what,
        f"{why}; the stack is in {settled.status}",
        advice(failures) or next_step,
        stack=stack,
        status=settled.status,
        failures=failures,
    )
