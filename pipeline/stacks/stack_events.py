"""Stack events, read newest first and page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipeline.stacks.state import says_absent

STACK_TYPE = "AWS::CloudFormation::Stack"


@dataclass(frozen=True, slots=True)
class StackEvent:
    """One event of a stack. token: the client request token of the operation."""

    event_id: str
    logical_id: str
    resource_type: str
    physical_id: str
    status: str
    reason: str
    token: str
    detailed_status: str = ""

    @classmethod
    def of(cls, event: Any) -> StackEvent:
        return cls(
            event_id=event["EventId"],
            logical_id=event.get("LogicalResourceId", ""),
            resource_type=event.get("ResourceType", ""),
            physical_id=event.get("PhysicalResourceId", ""),
            status=event.get("ResourceStatus", ""),
            reason=event.get("ResourceStatusReason", ""),
            token=event.get("ClientRequestToken", ""),
            detailed_status=event.get("DetailedStatus", ""),
        )

    def of_stack(self, stack_id: str) -> bool:
        """Whether the event is about the stack itself, not about a resource."""
        return self.resource_type == STACK_TYPE and self.physical_id == stack_id


def last_operation(cfn: Any, stack_id: str) -> tuple[StackEvent, ...]:
    """The events of the last operation of a stack, oldest first."""
    newest_first: list[StackEvent] = []
    for event in history(cfn, stack_id):
        newest_first.append(event)
        if event.of_stack(stack_id) and event.status in (
            "CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "IMPORT_IN_PROGRESS",
        ):  # fmt: skip
            break
    return tuple(reversed(newest_first))


def history(cfn: Any, stack_id: str, token: str | None = None) -> Any:
    """Yield events, newest first; pages are read as needed.

    token  stop after the page with the last event of this operation; a busy stack has hundreds of pages
    """
    request = {"StackName": stack_id}
    while True:
        try:
            page = cfn.describe_stack_events(**request)
        except ClientError as problem:
            if says_absent(problem):
                return
            raise
        events = [StackEvent.of(event) for event in page.get("StackEvents", [])]
        yield from events
        if not page.get("NextToken") or (token is not None and events and events[-1].token != token):
            return
        request["NextToken"] = page["NextToken"]
