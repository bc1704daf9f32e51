"""Functions in containers of any Docker-compatible engine, made from the images that were pushed.

Pools, Runtime API and control plane are those of the process runtime; only the process of a worker is a container.
Every container has the local folder as a label, and ends with this process because its connection to the Runtime API
does. Containers that a crash leaves behind are removed at the next start, and by `down`.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path
from typing import Any

from pipeline.core.errors import LocalError
from pipeline.core.records import read_record
from pipeline.engine.connection import connect_engine, engine_address
from pipeline.local.containers.confinement import sweep
from pipeline.local.containers.container_process import ContainerProgram, container_program
from pipeline.local.containers.engine_images import EngineImages
from pipeline.local.containers.gateway import Gateway
from pipeline.local.invocation import FunctionConfig
from pipeline.oci.values import Digest

OTHERWISE = "Without an engine, omit --runtime docker: functions then run as processes of this machine."
_NOT_STARTED = "the functions were not started in containers"

log = logging.getLogger("pipeline.local.docker")


def open_engine() -> Any:
    """The engine for the container runtime. Raises LocalError if there is none on this machine."""
    address = engine_address()
    if not address.startswith("unix://"):
        raise LocalError(
            _NOT_STARTED,
            f"the engine at {address} is reached over a network, and containers must reach this machine's sockets",
            f"Point DOCKER_HOST at the socket of an engine on this machine. {OTHERWISE}",
        )
    return connect_engine(_NOT_STARTED, OTHERWISE)


def sweep_folder(engine: Any, folder: Path) -> None:
    """Remove the containers and images that a killed run of ``folder`` left behind. Raises LocalError."""
    place = folder / "containers"
    count = sweep(engine, place)
    if count:
        log.info("%d containers of an earlier run were removed", count)
    earlier = (read_record(place / "images.json") or {}).get("images", [])
    EngineImages(engine, place).remove_all(earlier)
    shutil.rmtree(place, ignore_errors=True)


class ContainerBackend:
    """A ``Backend`` whose workers are containers. ``engine`` is the result of ``open_engine``."""

    def __init__(self, folder: Path, endpoint: str, token: str, engine: Any) -> None:
        self._folder = folder / "containers"
        sweep_folder(engine, folder)
        self._folder.mkdir(mode=0o700, parents=True)
        self._engine = engine
        self._endpoint = endpoint
        self._images = EngineImages(engine, self._folder, endpoint, token)
        self._gateway = Gateway(engine, self._folder / "sockets", endpoint)

    def prepare(self, function: FunctionConfig) -> ContainerProgram:
        image = self._images.ensure(function.image)
        return container_program(function, image, self._endpoint, self._engine, self._gateway, self._folder)

    def prune(self, used: set[Digest]) -> None:
        self._images.prune(used)

    async def close(self) -> None:
        await self._gateway.close()
        await asyncio.to_thread(self._clean)

    def _clean(self) -> None:
        try:
            sweep(self._engine, self._folder)
        except LocalError as error:
            log.error("%s: %s", error.what, error.why)
        self._images.remove_all()
        shutil.rmtree(self._folder, ignore_errors=True)
