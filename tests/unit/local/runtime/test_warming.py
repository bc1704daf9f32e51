"""Functions are made ready ahead of their first invocation, and not at the cost of one that is waited for."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

from pipeline.local.invocation import FunctionConfig, Invocation, Status
from pipeline.local.runtime.command import CannotRun, WorkerCommand
from pipeline.local.runtime.pool import WorkerPool
from pipeline.local.runtime.process_runtime import PooledRuntime
from pipeline.local.runtime.pulled import ImageUnavailable
from pipeline.oci.values import Digest, ImageReference

AT_ONCE = max(2, os.cpu_count() or 1)


def function(name: str, digit: str = "0") -> FunctionConfig:
    return FunctionConfig.parse(
        {
            "FunctionName": name,
            "FunctionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}",
            "ImageUri": f"000000000000.dkr.ecr.us-east-1.amazonaws.com/{name}@sha256:{digit * 64}",
        }
    )


class Unpacking(PooledRuntime):
    """A runtime whose images take a moment to unpack, and cannot run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.begun: list[str] = []
        self.most = 0
        self.fetching: dict[str, float] = {}
        self._at_it = 0
        self._lock = threading.Lock()

    def _new_pool(self, function: FunctionConfig) -> WorkerPool:
        return WorkerPool(function, self._prepare, self._work_folder, self._starts)

    def _prepare(self, function: FunctionConfig) -> WorkerCommand:
        with self._lock:
            self.begun.append(function.name)
            self._at_it += 1
            self.most = max(self.most, self._at_it)
        time.sleep(0.03)
        with self._lock:
            self._at_it -= 1
        raise CannotRun("Runtime.InvalidEntrypoint", "nothing in it")

    def _fetch(self, image: ImageReference) -> None:
        self.begun.append(str(image))
        time.sleep(self.fetching.get(image.repository, 0))
        raise ImageUnavailable("it is damaged")

    def _prune(self, used: set[Digest]) -> None:
        del used


def test_an_invocation_does_not_queue_behind_all_that_is_made_ready(tmp_path: Path) -> None:
    functions = [function(f"function-{number:02}") for number in range(4 * AT_ONCE)]

    async def invoke_the_last() -> Unpacking:
        runtime = Unpacking(tmp_path)
        runtime.follow(functions, functions)
        await asyncio.sleep(0.01)
        outcome = await runtime.invoke(functions[-1], Invocation("1", b"{}", functions[-1].arn))
        assert outcome.status is Status.ERROR
        while len(set(runtime.begun)) < len(functions):
            await asyncio.sleep(0.01)
        await runtime.close()
        return runtime

    runtime = asyncio.run(asyncio.wait_for(invoke_the_last(), 20))
    assert functions[-1].name in runtime.begun[: AT_ONCE + 1]
    assert runtime.most <= AT_ONCE + 1


def test_a_pushed_image_is_fetched_and_what_is_wrong_with_it_is_left_for_later(tmp_path: Path) -> None:
    image = ImageReference("", "team/function", digest=Digest("1" * 64))

    async def expect() -> Unpacking:
        runtime = Unpacking(tmp_path)
        runtime.expect(image)
        while not runtime.begun:
            await asyncio.sleep(0.01)
        await runtime.close()
        return runtime

    assert asyncio.run(asyncio.wait_for(expect(), 20)).begun == [str(image)]


def test_the_image_that_comes_first_is_made_ready_first(tmp_path: Path) -> None:
    functions = [function("late", "1"), function("soon", "2")]

    async def push_and_switch() -> Unpacking:
        runtime = Unpacking(tmp_path)
        runtime.fetching = {"late": 0.5}
        for each in functions:
            runtime.expect(each.image)
        runtime.follow(functions, functions)
        while len(runtime.begun) < 4:
            await asyncio.sleep(0.01)
        await runtime.close()
        return runtime

    assert asyncio.run(asyncio.wait_for(push_and_switch(), 20)).begun[2:] == ["soon", "late"]
