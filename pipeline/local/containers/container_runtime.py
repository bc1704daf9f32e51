"""The container runtime: functions run in containers of any Docker-compatible engine, made from what was pushed.

The same pools, the same Runtime API and the same control plane as the process runtime; a worker is a container. Every
container carries the local folder as a label, and ends when this process does, since its way to the Runtime API ends
then. What a crash leaves of it is removed at the next start, and by `down`.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.core.errors import LocalError
from pipeline.core.records import read_record
from pipeline.engine.connection import connect_engine, engine_address
from pipeline.local.containers.confinement import sweep
from pipeline.local.containers.container_workers import ContainerWorker, container_command
from pipeline.local.containers.engine_images import EngineImages
from pipeline.local.containers.gateway import Gateway
from pipeline.local.invocation import FunctionConfig
from pipeline.local.runtime.command import WorkerCommand
from pipeline.local.runtime.pool import WorkerPool
from pipeline.local.runtime.process_runtime import PooledRuntime
from pipeline.local.runtime.workers import Worker
from pipeline.oci.values import Digest, ImageReference

OTHERWISE = "Without an engine, leave out --runtime docker: functions run as processes of this machine."
_NOT_STARTED = "the functions were not started in containers"

log = logging.getLogger("pipeline.local.docker")


def open_engine() -> Any:
    """The engine for the container runtime. Raises LocalError when there is none, or one of another machine."""
    address = engine_address()
    if not address.startswith("unix://"):
        raise LocalError(
            _NOT_STARTED,
            f"the engine at {address} is reached over a network, and containers must reach this machine's sockets",
            f"Point DOCKER_HOST at the socket of an engine on this machine. {OTHERWISE}",
        )
    return connect_engine(_NOT_STARTED, OTHERWISE)


def sweep_folder(engine: Any, folder: Path) -> None:
    """Remove the containers and images that a killed run of ``folder`` left. Raises LocalError."""
    place = folder / "containers"
    count = sweep(engine, place)
    if count:
        log.info("%d containers of an earlier run were removed", count)
    earlier = (read_record(place / "images.json") or {}).get("images", [])
    EngineImages(engine, place, "http://127.0.0.1").remove_all(earlier)
    shutil.rmtree(place, ignore_errors=True)


class ContainerRuntime(PooledRuntime):
    """Workers are containers. ``engine`` is what ``open_engine`` gave."""

    def __init__(self, folder: Path, endpoint: str, engine: Any) -> None:
        self._folder = folder / "containers"
        sweep_folder(engine, folder)
        self._folder.mkdir(mode=0o700, parents=True)
        super().__init__(folder)
        self._engine = engine
        self._endpoint = endpoint
        self._images = EngineImages(engine, self._folder, endpoint)
        self._gateway = Gateway(engine, self._folder / "sockets", endpoint)

    def _new_pool(self, function: FunctionConfig) -> WorkerPool:
        return ContainerPool(function, self._prepare, self._folder, self._starts, self._engine, self._gateway)

    def _prepare(self, function: FunctionConfig) -> WorkerCommand:
        return container_command(function, self._images.ensure(function.image), self._endpoint)

    def _fetch(self, image: ImageReference) -> None:
        # An engine is shared with others, so only what a function most likely runs next is brought into it.
        if any(function.image.repository == image.repository for function in self._current.values()):
            self._images.ensure(image)

    def _prune(self, used: set[Digest]) -> None:
        self._images.prune(used)

    async def close(self) -> None:
        await super().close()
        await self._gateway.close()
        await asyncio.to_thread(self._clean)

    def _clean(self) -> None:
        try:
            sweep(self._engine, self._folder)
        except LocalError as error:
            log.error("%s: %s", error.what, error.why)
        self._images.remove_all()
        shutil.rmtree(self._folder, ignore_errors=True)


class ContainerPool(WorkerPool):
    """The containers of one function as it is configured at one moment."""

    def __init__(
        self,
        function: FunctionConfig,
        prepare: Callable[[FunctionConfig], WorkerCommand],
        folder: Path,
        starts: asyncio.Semaphore,
        engine: Any,
        gateway: Gateway,
    ) -> None:
        super().__init__(function, prepare, folder, starts)
        self._engine = engine
        self._gateway = gateway
        self._folder = folder

    def _new_worker(self) -> Worker:
        return ContainerWorker(self.function, self._release, self._ended, self._engine, self._gateway, self._folder)
