"""The rows of Distributed Map: how a Map Run runs, and RedriveExecution of an execution that failed in one."""

from __future__ import annotations

import contextvars
import functools
import json
import threading
from typing import Any

from pipeline.local.emulator.patches.maps.map_runs import MapRuns
from pipeline.local.emulator.patches.patch import Patch

_GUIDE = "D Step Functions developer guide"


@functools.cache
def _map_runs(machines: Any) -> MapRuns:
    return MapRuns(machines)


def _run(_run_distributed_map: Any, machines: Any) -> Any:
    return _map_runs(machines).run


def _with_redrive(handle: Any, machines: Any) -> Any:
    async def handle_request(method: str, path: str, headers: Any, body: bytes, query_params: Any) -> Any:
        if headers.get("x-amz-target", "").rpartition(".")[2] != "RedriveExecution":
            return await handle(method, path, headers, body, query_params)
        return machines._finalize_response(_redrive(machines, json.loads(body)))

    return handle_request


def _redrive(machines: Any, data: Any) -> Any:
    """RedriveExecution of an execution whose Map Run failed or was aborted; others cannot be redriven here."""
    arn = str(data.get("executionArn", ""))
    execution = machines._executions.get(arn)
    if execution is None:
        return machines.error_response_json("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'", 400)
    status, reason = _redrive_status(machines, execution)
    if status != "REDRIVABLE":
        return machines.error_response_json("ExecutionNotRedrivable", reason, 400)
    redriven = machines.now_iso()
    execution.update(
        status="RUNNING", stopDate=None, output=None, redriveDate=redriven,
        redriveCount=execution.get("redriveCount", 0) + 1,
    )  # fmt: skip
    execution.pop("error", None)
    execution.pop("cause", None)
    details = {"redriveCount": execution["redriveCount"]}
    machines._add_event(execution, "ExecutionRedriven", {"executionRedrivenEventDetails": details})
    machines._emit_execution_status_event(execution)
    # Account and region are in the context.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(_resume, machines, execution), daemon=True, name="redrive").start()
    return machines.json_response({"redriveDate": redriven})


def _resume(machines: Any, execution: Any) -> None:
    """Continue at the Map state, with the input and the variables that it had."""
    run = _map_runs(machines).find(execution)
    machine = machines._state_machines.get(execution["stateMachineArn"])
    if run is None or machine is None:
        machines._fail_execution(execution, "StateMachineDeleted", "State machine no longer exists")
        return
    definition = json.loads(machine["definition"])
    ctx = {
        "QueryLanguage": definition.get("QueryLanguage", "JSONPath"),
        "Execution": {
            "Id": execution["executionArn"],
            "Input": json.loads(execution["input"]),
            "Name": execution["name"],
            "StartTime": execution["startDate"],
            "RedriveCount": execution["redriveCount"],
        },
        "StateMachine": {"Id": execution["stateMachineArn"], "Name": machine["name"]},
        "variables": dict(run.variables),
    }
    try:
        output = machines._run_sub_machine(definition["States"], run.state, run.raw_input, execution, ctx)
    except machines._ExecutionError as error:
        machines._fail_execution(execution, error.error, error.cause)
    except Exception as error:  # noqa: BLE001 - as ministack ends an execution
        machines._fail_execution(execution, "States.Runtime", str(error))
    else:
        if execution["status"] == "RUNNING":
            text = json.dumps(output)
            execution.update(status="SUCCEEDED", output=text, stopDate=machines.now_iso())
            machines._add_event(execution, "ExecutionSucceeded", {"executionSucceededEventDetails": {"output": text}})
            machines._emit_execution_status_event(execution)


def _redrive_status(machines: Any, execution: Any) -> tuple[str, str]:
    """``redriveStatus`` and ``redriveStatusReason`` of an execution; the reason is worded as recorded."""
    status = execution["status"]
    if status not in ("FAILED", "ABORTED", "TIMED_OUT"):
        return "NOT_REDRIVABLE", f"Execution is {status} and cannot be redriven"
    run = _map_runs(machines).find(execution)
    definition = json.loads(machines._state_machines.get(execution["stateMachineArn"], {}).get("definition", "{}"))
    if run is None or run.state not in definition.get("States", {}):
        return "NOT_REDRIVABLE", "only an execution that ended in a Distributed Map can be redriven here"
    return "REDRIVABLE", ""


def _described(describe: Any, machines: Any) -> Any:
    def _describe_execution(data: Any) -> Any:
        status, headers, body = describe(data)
        execution = machines._executions.get(data.get("executionArn"))
        if status != 200 or execution is None:
            return status, headers, body
        answer = json.loads(body)
        redrive, reason = _redrive_status(machines, execution)
        answer |= {"redriveCount": execution.get("redriveCount", 0), "redriveStatus": redrive}
        answer |= {"redriveStatusReason": reason} if reason else {}
        answer |= {"redriveDate": execution["redriveDate"]} if "redriveDate" in execution else {}
        return machines.json_response(answer)

    return _describe_execution


def _restored(restore: Any, machines: Any) -> Any:
    def _restore_state(data: Any) -> None:
        restore(data)
        for run in machines._map_runs.all_values():
            if run["status"] == "RUNNING":
                run.update(status="FAILED", stopDate=machines.now_iso())

    return _restore_state


def _with_objects_as_text(param_value: Any, _machines: Any) -> Any:
    def _sdk_json_param_value(value: Any, shape: Any) -> Any:
        if shape.type_name == "string" and isinstance(value, dict):
            return json.dumps(value)
        return param_value(value, shape)

    return _sdk_json_param_value


MAPS = (
    Patch(
        "services.stepfunctions:_run_distributed_map",
        "2b77d3ec0e04f8f1",
        "evaluates no JSONata in ItemReader, ItemSelector and MaxConcurrency, and none of Output and Assign; ignores"
        " ItemBatcher, ResultWriter and the Path fields of tolerated failures; applies these after all children have"
        " run; gives children the parent's context and variables, and keeps those that are EXPRESS; goes on after"
        " StopExecution; splits JSON Lines at U+2028, and fails as States.Runtime on an object that it cannot read",
        "all of these apply; a Map Run stops as soon as more has failed than is tolerated, or its execution is stopped;"
        " States.ItemReaderFailed, States.ResultWriterFailed",
        f"recorded: stepfunctions/v2/scenarios, v2/assign, v2/test_sfn_api_map_run; {_GUIDE}, Distributed mode,"
        " ItemBatcher, ResultWriter",
        _run,
    ),
    Patch(
        "services.stepfunctions:handle_request",
        "efa6e8c4532a9e05",
        "has no RedriveExecution",
        "the children of a Map Run that have not succeeded run again, in the same Map Run; EXPRESS ones from their"
        " beginning",
        f"{_GUIDE}, Redriving Map Runs; D API_RedriveExecution",
        _with_redrive,
    ),
    Patch(
        "services.stepfunctions:_describe_execution",
        "c3ad294ad8b5070a",
        "has none of the redrive fields",
        "redriveCount, redriveStatus, redriveStatusReason, redriveDate",
        "recorded: stepfunctions/v2/test_sfn_api; D API_DescribeExecution",
        _described,
    ),
    Patch(
        "services.stepfunctions:_restore_state",
        "b94c49c3dd97e93d",
        "fails the executions that were running when it ended, but not their Map Runs",
        "a Map Run ends with its execution",
        f"{_GUIDE}, Distributed mode",
        _restored,
    ),
    Patch(
        "services.stepfunctions:_sdk_json_param_value",
        "855a1ee0369c2186",
        "sends an object as an argument that is a text, such as the Input of a nested execution",
        "an object is serialised",
        "recorded: stepfunctions/v2/services, test_sfn_start_execution_implicit_json_serialisation",
        _with_objects_as_text,
    ),
)
