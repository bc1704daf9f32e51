"""State machines that answer as EXPRESS does: executions begin at once, and are forgotten when they are answered.

What stays of an execution is in the logs and in the table. ministack keeps every one with its events and inputs for
ever, about 100 KB of memory each, and writes them all to disk when it ends. Ten thousand transactions later it would
not end in time, and everything else that it had to save would be lost with them.
"""

from __future__ import annotations

import importlib
import inspect
import json
import threading
import time
from types import SimpleNamespace
from typing import Any

from pipeline.core.errors import LocalError

# ministack lets every execution sleep so long before it begins (seconds).
START_PAUSE = 0.15


def forget_executions() -> None:
    """Hook ministack's state machines. Raises LocalError when ministack does not have what is hooked."""
    machines: Any = importlib.import_module("ministack.services.stepfunctions")
    start = getattr(machines, "_start_sync_execution", None)
    if start is None or len(inspect.signature(start).parameters) != 1 or not hasattr(machines, "_executions"):
        raise LocalError(
            "the embedded AWS was not started",
            "ministack's _start_sync_execution is not what is expected",
            "Install the version of ministack that this release is made for.",
        )

    def _start_sync_execution(data: Any) -> Any:
        answer = start(data)
        machines._executions.pop(json.loads(answer[2]).get("executionArn"), None)
        return answer

    machines._start_sync_execution = _start_sync_execution


def start_at_once() -> None:
    """Leave the sleep out that ministack begins every execution with; where it is another one, it stays."""
    machines: Any = importlib.import_module("ministack.services.stepfunctions")
    run, beginning = machines._run_execution, threading.local()

    def _run_execution(execution: str) -> None:
        beginning.here = True
        run(execution)

    def sleep(seconds: float) -> None:
        first = getattr(beginning, "here", False)
        beginning.here = False
        if not (first and seconds == START_PAUSE):
            time.sleep(seconds)

    machines._run_execution = _run_execution
    machines.time = SimpleNamespace(**{**vars(time), "sleep": sleep})
