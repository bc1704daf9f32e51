"""Functions are made ready ahead of their first invocation, and not at the cost of one that is waited for."""

from __future__ import annotations

import asyncio
import os
import threading
import time

from pipeline.local.invocation import FunctionConfig, Invocation, Status
from pipeline.local.runtime.command import CannotRun
from pipeline.local.runtime.function_runtime import FunctionRuntime
from pipeline.local.runtime.worker_process import Program
from pipeline.oci.values import Digest

AT_ONCE = max(2, os.cpu_count() or 1)


def function(name: str) -> FunctionConfig:
    return FunctionConfig.parse(
        {
            "FunctionName": name,
            "FunctionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}",
            "ImageUri": f"000000000000.dkr.ecr.us-east-1.amazonaws.com/{name}@sha256:{'0' * 64}",
        }
    )


class Unpacking:
    """A backend whose images take a moment to unpack, and cannot run."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.most = 0
        self._at_it = 0
        self._lock = threading.Lock()

    def prepare(self, function: FunctionConfig) -> Program:
        with self._lock:
            self.begun.append(function.name)
            self._at_it += 1
            self.most = max(self.most, self._at_it)
        time.sleep(0.03)
        with self._lock:
            self._at_it -= 1
        raise CannotRun("Runtime.InvalidEntrypoint", "nothing in it")

    def prune(self, used: set[Digest]) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing was started."""


def test_an_invocation_does_not_queue_behind_all_that_is_made_ready() -> None:
    functions = [function(f"function-{number:02}") for number in range(4 * AT_ONCE)]

    async def invoke_the_last() -> Unpacking:
        backend = Unpacking()
        runtime = FunctionRuntime(backend)
        runtime.follow(functions, functions)
        await asyncio.sleep(0.01)
        outcome = await runtime.invoke(functions[-1], Invocation("1", b"{}", functions[-1].arn))
        assert outcome.status is Status.ERROR
        while len(set(backend.begun)) < len(functions):
            await asyncio.sleep(0.01)
        await runtime.close()
        return backend

    backend = asyncio.run(asyncio.wait_for(invoke_the_last(), 20))
    assert functions[-1].name in backend.begun[: AT_ONCE + 1]
    assert backend.most <= AT_ONCE + 1
