"""EXPRESS executions are forgotten once they have been answered."""

from __future__ import annotations

import json
from typing import Any

from pipeline.local.emulator.patches.patch import Patch


def _forget(start: Any, machines: Any) -> Any:
    def _start_sync_execution(data: Any) -> Any:
        answer = start(data)
        machines._executions.pop(json.loads(answer[2]).get("executionArn"), None)
        return answer

    return _start_sync_execution


EXECUTIONS = (
    Patch(
        "services.stepfunctions:_start_sync_execution",
        "8600470a0208036c",
        "keeps every execution with its events and inputs, about 100 KB each, lists it, and writes it all to disk",
        "Step Functions keeps nothing of an EXPRESS execution but its logs: ListExecutions does not support EXPRESS",
        "D Step Functions developer guide, Choosing workflow type; D API_ListExecutions",
        _forget,
    ),
)
