"""Why a stack failed: the first failure with AWS's own words, and what it dragged down folded behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core.errors import NextStep, StackError
from pipeline.oci.values import ImageReference
from pipeline.stacks.stack_events import StackEvent, last_operation
from pipeline.stacks.state import StackStatus

# CloudFormation's reasons for resources that it gave up because another one failed.
_GIVEN_UP = re.compile(r"\b(?:creation|update|deletion|import) (?:was )?cancell?ed\b", re.IGNORECASE)
# Failures that pass by themselves: what IAM, ECR or a service has just been told is not known everywhere yet, or AWS
# was asked too fast. CloudFormation retries most of them itself, and gives up on some.
_PASSING = re.compile(
    r"cannot be assumed by Lambda"
    r"|role (?:defined|is invalid or) .*cannot be assumed"
    r"|Invalid principal in policy"
    r"|Source image \S+ does not exist"
    r"|Rate exceeded|Throttling|TooManyRequests|ServiceUnavailable|InternalFailure|Internal Failure"
    r"|Status Code: 5\d\d",
    re.IGNORECASE,
)
_IMAGE = re.compile(r"Source image (\S+?)\.? (?:does not exist|is not valid)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ResourceFailure:
    """A resource that failed. ``given_up``: CloudFormation gave it up because another one had failed before."""

    logical_id: str
    resource_type: str
    status: str
    reason: str
    given_up: bool = False

    def __str__(self) -> str:
        kind = f" ({self.resource_type})" if self.resource_type else ""
        return f"{self.logical_id}{kind}: {self.reason or self.status}"


class StackFailed(StackError):
    """A stack that CloudFormation did not bring where it should be.

    status    where the stack ended; None when nothing was begun
    failures  first cause first; empty when CloudFormation names none
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
    def passing(self) -> bool:
        """Whether the first cause is one that passes by itself, so that a second try is worth its time."""
        return bool(self.failures) and _PASSING.search(self.failures[0].reason) is not None


def failures_of(events: Sequence[StackEvent], stack_id: str) -> tuple[ResourceFailure, ...]:
    """The failures among the ``events`` of one operation (oldest first): causes in their order, then the given up.

    A resource appears once, with the first thing that went wrong with it.
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
            given_up=_GIVEN_UP.search(event.reason) is not None,
        )
    return tuple(sorted(first.values(), key=lambda failure: failure.given_up))


def explain(failures: Sequence[ResourceFailure], otherwise: str) -> str:
    """Failures as one sentence: causes in full, the cascade as a count."""
    causes = [str(failure) for failure in failures if not failure.given_up]
    given_up = len(failures) - len(causes)
    if not causes:
        causes = [otherwise or "CloudFormation names no reason"]
    sentence = "; then ".join(causes)
    return f"{sentence} ({given_up} more given up because of it)" if given_up else sentence


def missing_images(failures: Iterable[ResourceFailure]) -> tuple[ImageReference, ...]:
    """The images that Lambda did not find, as its reasons name them: push them back, then run again."""
    found = []
    for failure in failures:
        for text in _IMAGE.findall(failure.reason):
            try:
                found.append(ImageReference.parse(text))
            except ValueError:
                continue
    return tuple(dict.fromkeys(found))


def validation_failures(cfn: Any, **scope: str) -> tuple[ResourceFailure, ...]:
    """What CloudFormation found before it deployed anything; only DescribeEvents tells (since November 2025).

    scope  ``StackName`` or ``ChangeSetName``. Gives nothing with a botocore that does not have the call, and where
    the caller may not make it: the explanation is then shorter, not wrong.
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
    """The failures of a stack's last operation, for a status page or after the fact. One to a few calls."""
    events = last_operation(cfn, stack_id)
    return _with_validation(cfn, stack_id, events)


def _with_validation(cfn: Any, stack_id: str, events: Sequence[StackEvent]) -> tuple[ResourceFailure, ...]:
    failures = failures_of(events, stack_id)
    if failures and not all(failure.given_up for failure in failures):
        return failures
    if any(event.detailed_status == "VALIDATION_FAILED" or "DescribeEvents" in event.reason for event in events):
        return validation_failures(cfn, StackName=stack_id) + failures
    return failures


def stack_failed(cfn: Any, what: str, stack: str, stack_id: str, status: StackStatus, events: Sequence[StackEvent],
                 next_step: str) -> StackFailed:  # fmt: skip
    """The error of an operation that ended in ``status``, from its ``events`` (oldest first)."""
    failures = _with_validation(cfn, stack_id, events)
    stack_reasons = [event.reason for event in events if event.of_stack(stack_id) and event.reason]
    why = explain(failures, stack_reasons[-1] if stack_reasons else "")
    return StackFailed(
        what, f"{why}; the stack is in {status}", next_step, stack=stack, status=status, failures=failures
    )
