"""Following an operation reads no page of events before it."""

from __future__ import annotations

from typing import Any

from pipeline.core.events import ignore
from pipeline.stacks.follow import Deadline, follow
from pipeline.stacks.state import StackStatus

STACK = "arn:aws:cloudformation:us-east-1:000000000000:stack/s/1"


class CloudFormation:
    """A stack that was updated a hundred times, with ten events per page."""

    def __init__(self, own: int) -> None:
        self.pages = 0
        old = [self._event(f"old-{number}", "before") for number in range(1000)]
        mine = [self._event(f"own-{number}", "mine") for number in range(own)]
        end = self._event("end", "mine", "AWS::CloudFormation::Stack", "UPDATE_COMPLETE", STACK)
        self.events = [end, *mine, *old]

    @staticmethod
    def _event(
        number: str, token: str, kind: str = "AWS::SNS::Topic", status: str = "UPDATE_COMPLETE", physical: str = "t"
    ) -> dict[str, str]:
        return {
            "EventId": number, "LogicalResourceId": number, "ResourceType": kind, "PhysicalResourceId": physical,
            "ResourceStatus": status, "ClientRequestToken": token,
        }  # fmt: skip

    def describe_stack_events(self, **request: Any) -> dict[str, Any]:
        self.pages += 1
        start = int(request.get("NextToken", 0))
        return {"StackEvents": self.events[start : start + 10], "NextToken": str(start + 10)}

    def describe_stacks(self, **_request: Any) -> dict[str, Any]:
        return {"Stacks": [{"StackName": "s", "StackStatus": "UPDATE_COMPLETE"}]}


def test_all_of_the_operation_is_read_and_nothing_before_it() -> None:
    client = CloudFormation(own=25)
    settled = follow(client, "s", STACK, "mine", ignore, Deadline(10))
    assert settled.status is StackStatus.UPDATE_COMPLETE
    assert len(settled.events) == 26
    assert client.pages == 3
