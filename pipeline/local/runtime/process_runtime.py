"""The process runtime: functions run as processes of this machine, out of the images that were pushed.

Every invocation runs exactly the digest that the control plane named with it. When a function changes, workers of the
new configuration are started at once and those of the old end after their invocation, so none is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from pipeline.local.invocation import FunctionConfig, Invocation, Outcome
from pipeline.local.runtime.command import WorkerCommand, worker_command
from pipeline.local.runtime.pool import WorkerPool
from pipeline.local.runtime.pulled import ImageStore, ImageUnavailable
from pipeline.oci.values import Digest, ImageReference

SWEEP_SECONDS = 10.0

log = logging.getLogger("pipeline.local.runtime.process_runtime")


class PooledRuntime(ABC):
    """A ``pipeline.local.invocation.Runtime`` with a pool of workers per function, whatever a worker is.

    Make and use it on one event loop, in the main thread.
    """

    def __init__(self, folder: Path) -> None:
        self._work_folder = folder / "work"
        self._work_folder.mkdir(parents=True, exist_ok=True)
        self._pools: dict[FunctionConfig, WorkerPool] = {}
        self._current: dict[tuple[str, str], FunctionConfig] = {}
        # Interpreters that start at the same time only slow each other down.
        at_once = max(2, os.cpu_count() or 1)
        self._starts = asyncio.Semaphore(at_once)
        # So many functions are made ready at a time: an invocation must not queue behind all that is made ready ahead,
        # so one start is left for it.
        self._warming = asyncio.Semaphore(max(1, at_once - 1))
        self._tasks: set[asyncio.Task[None]] = set()
        # Images that were just pushed and are on their way, by digest.
        self._expected: dict[Digest | None, asyncio.Task[None]] = {}
        self._keep(self._sweep())

    async def invoke(self, function: FunctionConfig, invocation: Invocation) -> Outcome:
        return await self._pool(function).invoke(invocation)

    def follow(self, functions: Sequence[FunctionConfig], warm: Sequence[FunctionConfig]) -> None:
        self._current = {function.place: function for function in functions}
        for function, pool in self._pools.items():
            if self._current.get(function.place) != function:
                pool.retire()
        for function in warm:
            self._keep(self._warm(self._pool(function)))
        self._drop_empty()

    def expect(self, image: ImageReference) -> None:
        self._expected[image.digest] = self._keep(self._expect(image))

    async def _expect(self, image: ImageReference) -> None:
        # What is wrong with it is said when a function is switched to it.
        with contextlib.suppress(ImageUnavailable, OSError):
            await asyncio.to_thread(self._fetch, image)
        self._expected.pop(image.digest, None)

    async def _warm(self, pool: WorkerPool) -> None:
        # Of several images that are on their way, whichever comes first is made ready first.
        if expected := self._expected.get(pool.function.image.digest):
            await asyncio.wait([expected])
        async with self._warming:
            await pool.warm()

    def _pool(self, function: FunctionConfig) -> WorkerPool:
        pool = self._pools.get(function)
        if pool is None:
            pool = self._pools[function] = self._new_pool(function)
        # An invocation that was under way when its function changed still gets what it was sent to.
        pool.retired = self._current.get(function.place, function) != function
        return pool

    @abstractmethod
    def _new_pool(self, function: FunctionConfig) -> WorkerPool: ...

    @abstractmethod
    def _fetch(self, image: ImageReference) -> None:
        """Have an image that was just pushed, called in a thread. May raise ImageUnavailable and OSError."""

    @abstractmethod
    def _prune(self, used: set[Digest]) -> None:
        """Remove images that nothing uses, called in a thread now and then. May raise OSError and ValueError."""

    def _drop_empty(self) -> None:
        for function, pool in list(self._pools.items()):
            if pool.retired and pool.empty:
                del self._pools[function]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for pool in self._pools.values():
                pool.shrink()
            self._drop_empty()
            used = {function.image.digest for function in (*self._current.values(), *self._pools)}
            try:
                await asyncio.to_thread(self._prune, {digest for digest in used if digest is not None})
            except (OSError, ValueError):
                log.warning("old images could not be removed", exc_info=True)

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        # Their folder stays: where the local folder was removed and made again, it is another host's.
        await asyncio.gather(*(pool.close() for pool in self._pools.values()), return_exceptions=True)


class ProcessRuntime(PooledRuntime):
    """Workers are processes of this machine."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        super().__init__(folder)
        self._images = ImageStore(folder, endpoint)
        self._endpoint = endpoint
        self._keep(self._fill_library())

    async def _fill_library(self) -> None:
        with contextlib.suppress(OSError):  # then workers compile it
            await asyncio.to_thread(self._images.fill_library)

    def _new_pool(self, function: FunctionConfig) -> WorkerPool:
        return WorkerPool(function, self._prepare, self._work_folder, self._starts)

    def _prepare(self, function: FunctionConfig) -> WorkerCommand:
        return worker_command(function, self._images.ensure(function.image), self._endpoint)

    def _fetch(self, image: ImageReference) -> None:
        self._images.pull_ahead(image)

    def _prune(self, used: set[Digest]) -> None:
        self._images.prune(used)
