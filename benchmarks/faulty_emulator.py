"""The local target with an embedded AWS whose DynamoDB throttles and loses responses.

    python -m benchmarks.faulty_emulator --folder …     the host of ``pipeline.local.host.main``, with its arguments
    python -m benchmarks.faulty_emulator --socket …     its emulator

``faults.json`` in the host's folder is read whenever it changes: {"throttled": 0.02, "lost": 0.001} are the shares of
calls that are refused, and of calls that take effect but return an error. Faults apply to tasks of state machines and
to HTTP calls on items.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.local.emulator.patches.patch import Patch

FAULTS = "faults.json"
# Retries and waits of state machines take this share of the time that they would.
WAIT_SCALE = "0.1"
_READ_SECONDS = 0.1
_ITEM_CALLS = ("PutItem", "UpdateItem", "GetItem", "DeleteItem", "Query")


class Faults:
    """The shares as the file has them now; none if there is no file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_at = 0.0
        self._shares: dict[str, float] = {}
        self._chance = random.Random(os.getpid())

    def strike(self) -> str | None:
        """The fault of the next call, or None."""
        if time.monotonic() - self._read_at > _READ_SECONDS:
            self._read_at = time.monotonic()
            try:
                self._shares = json.loads(self._file.read_text())
            except (OSError, ValueError):
                self._shares = {}
        draw = self._chance.random()
        for name, share in self._shares.items():
            if draw < share:
                return name
            draw -= share
        return None


def fault_patches(faults: Faults) -> tuple[Patch, ...]:
    """The rows that put the faults between ministack's DynamoDB and its callers."""

    def strike_task(invoke: Any, machines: Any) -> Any:
        def _invoke_dynamodb(operation: str, data: Any) -> Any:
            fault = faults.strike()
            if fault == "throttled":
                raise machines._ExecutionError("DynamoDB.ThrottlingException", "Rate exceeded")
            result = invoke(operation, data)
            if fault == "lost":
                raise machines._ExecutionError("DynamoDB.InternalServerError", "the answer was lost")
            return result

        return _invoke_dynamodb

    def strike_request(handle: Any, dynamodb: Any) -> Any:
        async def handle_request(method: str, path: str, headers: Any, body: Any, query: Any) -> Any:
            if headers.get("x-amz-target", "").rpartition(".")[2] in _ITEM_CALLS and faults.strike() == "throttled":
                return dynamodb.error_response_json("ThrottlingException", "Rate exceeded", 400)
            return await handle(method, path, headers, body, query)

        return handle_request

    never, sometimes = "never throttles and loses no answer", "throttles, and answers get lost"
    return (
        Patch(
            "services.stepfunctions:_invoke_dynamodb",
            "3d538d8656c86441",
            never,
            sometimes,
            "D DynamoDB developer guide, Error handling",
            strike_task,
        ),
        Patch(
            "services.dynamodb:handle_request",
            "1201f2ac993ce1a0",
            never,
            sometimes,
            "D DynamoDB developer guide, Error handling",
            strike_request,
        ),
    )


def main() -> int:
    if "--socket" not in sys.argv:
        from pipeline.local.host import main as host

        host.EMULATOR = "benchmarks.faulty_emulator"
        return host.main()
    os.environ["SFN_WAIT_SCALE"] = WAIT_SCALE
    from pipeline.local.emulator import server as emulator

    return emulator.main(faults=fault_patches(Faults(Path(os.environ["HOME"]) / FAULTS)))


if __name__ == "__main__":
    sys.exit(main())
