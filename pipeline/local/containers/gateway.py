"""Connect functions in containers with this machine, without listening beyond loopback.

All containers of one host share the network of a small gateway container, which has a loopback interface and nothing
else. In it a relay (``docker_relay``) listens where the functions expect the embedded AWS and their Runtime APIs, and
passes connections on to Unix sockets of this machine, whose folder is mounted into the gateway alone. So a function
reaches the embedded AWS and its Runtime API, as in a subnet without a way out, and nothing else: neither this machine's
other ports nor the internet, and nothing else reaches the containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.engine.connection import explain
from pipeline.local.containers.confinement import EngineFailure, labels, sandbox_settings
from pipeline.local.runtime.forwarding import forward_to

RELAY = Path(__file__).with_name("relay.py")
# The most workers at a time, each with its own port for its Runtime API.
SLOTS = 256
START_SECONDS = 20.0
_FIRST_PORT = 9001
# Beyond the users of any distribution and image.
_FIRST_USER = 700_000
_MEMORY_MB = 128
# Two for each connection, one for each slot.
_FILES_MAX = 8192

log = logging.getLogger("pipeline.local.docker")


class Gateway:
    """The sockets of this machine and the container that leads to them, which ``ensure`` starts."""

    def __init__(self, engine: Any, folder: Path, endpoint: str) -> None:
        self._engine = engine
        self._folder = folder
        self._aws = urlsplit(endpoint).port or 80
        first = _FIRST_PORT if not _FIRST_PORT <= self._aws < _FIRST_PORT + SLOTS else _FIRST_PORT + SLOTS
        self._ports = {slot: first + slot for slot in range(SLOTS)}
        self._free = list(reversed(range(SLOTS)))
        self._servers: list[asyncio.Server] = []
        self._starting = asyncio.Lock()
        self._container: str | None = None
        self._ready = asyncio.Event()
        # A Unix socket's address has at most 107 bytes; through a descriptor any folder fits.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        self._directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def port(self, slot: int) -> int:
        """Where the worker of ``slot`` finds its Runtime API on its loopback."""
        return self._ports[slot]

    def user(self, slot: int) -> int:
        """The user of the container of ``slot``, by which the gateway recognises it."""
        return _FIRST_USER + slot

    def take(self) -> int:
        """A free slot. Raises EngineFailure if all are taken."""
        if not self._free:
            raise EngineFailure(f"{SLOTS} containers run already")
        return self._free.pop()

    def give_back(self, slot: int) -> None:
        (self._folder / f"worker-{slot}").unlink(missing_ok=True)
        self._free.append(slot)

    async def serve_worker(self, slot: int, protocol: Callable[[], asyncio.Protocol]) -> asyncio.Server:
        """Listen for the worker of ``slot``."""
        server = await asyncio.get_running_loop().create_unix_server(protocol, self._path(f"worker-{slot}"))
        (self._folder / f"worker-{slot}").chmod(0o666)
        return server

    def _path(self, name: str) -> str:
        (self._folder / name).unlink(missing_ok=True)
        return f"/proc/self/fd/{self._directory}/{name}"

    async def ensure(self, image: str) -> str:
        """The id of the running gateway, started from ``image``, which has a Python, if necessary.

        Raises EngineFailure.
        """
        async with self._starting:
            if self._container is not None and self._ready.is_set():
                return self._container
            if not self._servers:
                await self._listen("aws", self._forward_to_aws)
                await self._listen("owner", self._watch)
            self._ready.clear()
            self._container = await asyncio.to_thread(self._start, image)
            try:
                async with asyncio.timeout(START_SECONDS):
                    await self._ready.wait()
            except TimeoutError:
                said = await asyncio.to_thread(self._last_words, self._container)
                raise EngineFailure(
                    f"the containers' gateway did not start ({said}); the engine must run on this machine, not in a "
                    "virtual one"
                ) from None
            return self._container

    async def _listen(self, name: str, serve: Callable[..., Awaitable[None]]) -> None:
        self._servers.append(await asyncio.start_unix_server(serve, self._path(name), backlog=512))
        (self._folder / name).chmod(0o666)

    def _start(self, image: str) -> str:
        import docker
        import requests

        ports: dict[str, tuple[str, int | None]] = {
            str(port): (f"worker-{slot}", self.user(slot)) for slot, port in self._ports.items()
        }
        ports[str(self._aws)] = ("aws", None)
        engine = self._engine
        settings = sandbox_settings(_MEMORY_MB) | {
            "network_mode": "none",
            "auto_remove": True,
            "ulimits": [{"Name": "nofile", "Soft": _FILES_MAX, "Hard": _FILES_MAX}],
            "binds": {str(self._folder): {"bind": "/host", "mode": "ro"}},
            # SELinux would keep a container from sockets of this machine, whatever their modes.
            "security_opt": ["no-new-privileges", "label=disable"],
        }
        try:
            container = engine.create_container(
                image,
                name=f"transaction-pipeline-gateway-{uuid.uuid4().hex[:8]}",
                entrypoint=["python3", "-c", RELAY.read_text()],
                command=[json.dumps(ports)],
                user="65534:65534",
                working_dir="/",
                labels=labels(self._folder.parent, role="gateway"),
                stop_timeout=0,
                host_config=engine.create_host_config(**settings),
            )["Id"]
            engine.start(container)
        except docker.errors.APIError as error:
            raise EngineFailure(f"the containers' gateway was not started: {explain(error)}") from error
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise EngineFailure(f"the container engine does not answer ({explain(error)})") from error
        return str(container)

    def _last_words(self, container: str) -> str:
        import docker

        try:
            state = self._engine.inspect_container(container)["State"]
        except docker.errors.APIError:
            return "it ended at once; its image needs a python3"
        return f"it is {state['Status']}"

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The gateway's own connection, which stays open as long as the gateway and this process run."""
        with contextlib.suppress(ConnectionError):
            await reader.readexactly(5)
            self._ready.set()
            await reader.read()
        self._ready.clear()
        writer.close()

    async def _forward_to_aws(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await forward_to(self._aws, reader, writer)

    async def close(self) -> None:
        """End the gateway's container and every socket."""
        for server in self._servers:
            server.close()
        if self._container is not None:
            await asyncio.to_thread(self._remove, self._container)
        os.close(self._directory)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _remove(self, container: str) -> None:
        import docker
        import requests

        with contextlib.suppress(docker.errors.DockerException, requests.RequestException, OSError):
            self._engine.remove_container(container, force=True)
