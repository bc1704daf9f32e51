"""EXPRESS executions have an ARN of their own, also when a name is used again, and are forgotten once answered."""

from __future__ import annotations

import json
import uuid
from typing import Any

from pipeline.local.emulator.patches.patch import Patch

# Between the name and the UUID of an execution that is under way; a name cannot contain it (API_StartSyncExecution).
_SEPARATOR = ":"


def _with_own_arn(start: Any, machines: Any) -> Any:
    def _start_sync_execution(data: Any) -> Any:
        name = data.get("name") or str(uuid.uuid4())
        status, headers, body = start({**data, "name": f"{name}{_SEPARATOR}{uuid.uuid4()}"})
        answer = json.loads(body)
        if "executionArn" not in answer:
            return status, headers, body
        machines._executions.pop(answer["executionArn"], None)
        answer |= {"executionArn": _express(answer["executionArn"]), "name": name}
        return machines.json_response(answer)

    return _start_sync_execution


def _with_own_name(run: Any, machines: Any) -> Any:
    def _run_execution(arn: str) -> Any:
        execution = machines._executions.get(arn)
        if execution is None or _SEPARATOR not in execution["name"]:
            return run(arn)
        # What the definition sees as its execution: $states.context.Execution.
        execution["name"] = execution["name"].partition(_SEPARATOR)[0]
        own = execution["executionArn"] = _express(arn)
        machines._executions[own] = execution
        try:
            return run(own)
        finally:
            machines._executions.pop(own, None)

    return _run_execution


def _express(arn: str) -> str:
    return arn.replace(":execution:", ":express:", 1)


EXECUTIONS = (
    Patch(
        "services.stepfunctions:_start_sync_execution",
        "8600470a0208036c",
        "keeps every execution with its events and inputs, about 100 KB each, lists it, and writes it all to disk; two"
        " of one name are one",
        "Step Functions keeps nothing of an EXPRESS execution but its logs: ListExecutions does not support EXPRESS;"
        " each has the ARN …:express:<machine>:<name>:<uuid>",
        "D Step Functions developer guide, Choosing workflow type; D API_ListExecutions; recorded:"
        " stepfunctions/v2/express",
        _with_own_arn,
    ),
    Patch(
        "services.stepfunctions:_run_execution",
        "996dff84e0e0605a",
        "gives a definition the ARN that it keeps the execution under",
        "$states.context.Execution has the EXPRESS ARN as Id, and the name without the UUID",
        "recorded: stepfunctions/v2/express",
        _with_own_name,
    ),
)
