"""Runs functions for the control plane: one pool of workers per function configuration, on any kind of backend.

Every invocation runs exactly the digest that the control plane named with it. When a function changes, workers of the
new configuration start at once and those of the old one end after their invocation, so no invocation is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from pipeline.local.images.image_pull import ImageUnavailable
from pipeline.local.invocation import FunctionConfig, Invocation, Outcome
from pipeline.local.runtime.command import CannotRun
from pipeline.local.runtime.pool import WorkerPool
from pipeline.local.runtime.worker_process import Program
from pipeline.oci.values import Digest

SWEEP_SECONDS = 10.0

log = logging.getLogger("pipeline.local.runtime.function_runtime")


class Backend(Protocol):
    """Stores images and runs workers: as processes of this machine, or with a container engine."""

    def prepare(self, function: FunctionConfig) -> Program:
        """Fetch the function's image and return the program of its workers; called in a thread.

        Raises CannotRun, ImageUnavailable and OSError.
        """
        ...

    def prune(self, used: set[Digest]) -> None:
        """Remove unused images; called periodically in a thread. Raises OSError and ValueError."""
        ...

    async def close(self) -> None:
        """Called last, after all workers have ended."""
        ...


class FunctionRuntime:
    """The ``pipeline.local.invocation.Runtime`` of one backend.

    Make and use it on one event loop, in the main thread.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._pools: dict[FunctionConfig, WorkerPool] = {}
        self._current: dict[tuple[str, str], FunctionConfig] = {}
        # Starting more interpreters than there are processors is slower.
        at_once = max(2, os.cpu_count() or 1)
        self._starts = asyncio.Semaphore(at_once)
        # Leaves one start for an invocation, which must not wait for workers that are warmed up.
        self._warming = asyncio.Semaphore(max(1, at_once - 1))
        self._tasks: set[asyncio.Task[None]] = set()
        self._keep(self._sweep())

    async def invoke(self, function: FunctionConfig, invocation: Invocation) -> Outcome:
        return await self._pool(function).invoke(invocation)

    async def prepare(self, function: FunctionConfig) -> None:
        with contextlib.suppress(CannotRun, ImageUnavailable, OSError):
            await self._pool(function).prepare()

    def follow(self, functions: Sequence[FunctionConfig], warm: Sequence[FunctionConfig]) -> None:
        self._current = {function.place: function for function in functions}
        for function, pool in self._pools.items():
            if self._current.get(function.place) != function:
                pool.retire()
        for function in warm:
            self._keep(self._warm(self._pool(function)))
        self._drop_empty()

    async def _warm(self, pool: WorkerPool) -> None:
        async with self._warming:
            await pool.warm()

    def _pool(self, function: FunctionConfig) -> WorkerPool:
        pool = self._pools.get(function)
        if pool is None:
            pool = self._pools[function] = WorkerPool(function, self._backend.prepare, self._starts)
        # An invocation sent before its function changed still runs the old configuration.
        pool.retired = self._current.get(function.place, function) != function
        return pool

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
                await asyncio.to_thread(self._backend.prune, {digest for digest in used if digest is not None})
            except (OSError, ValueError):
                log.warning("old images were not removed", exc_info=True)

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*(pool.close() for pool in self._pools.values()), return_exceptions=True)
        await self._backend.close()
