"""The embedded AWS as a service of docker compose: its functions are other containers.

    python3 -m pipeline.local.host.compose_service --port 4566 --function NAME=http://HOST:8080 …

Its root access key is in the variables ROOT_KEY, which ``make compose-context`` writes into ``.env``. It listens on the
container's loopback; a relay on the container's address makes it reachable by other containers and a published port.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.local.containers.compose_context import ROOT_KEY
from pipeline.local.containers.rie import EmulatorRuntime
from pipeline.local.host.main import Host, take_lock
from pipeline.local.host_state import LOOPBACK_HOSTS, Access, RootKey, new_token
from pipeline.local.invocation import Runtime
from pipeline.local.runtime.forwarding import forward_to

SERVICE = "aws"


class ComposeHost(Host):
    """A Host whose functions run in other containers."""

    def __init__(self, folder: Path, port: int, urls: Mapping[str, str], root: RootKey) -> None:
        for name in ("tmp", "state", "s3"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        # The other containers address it by its service's name.
        access = Access(root, new_token(), (*LOOPBACK_HOSTS, SERVICE))
        answer = os.dup(sys.stdout.fileno())
        # The folder is in the container's memory and ends with it.
        super().__init__(folder, port, take_lock(folder), answer, attached=False, access=access, durable=False)
        self._urls = urls

    def _start_runtime(self) -> Runtime:
        return EmulatorRuntime(self._urls)

    async def run(self) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await forward_to(self._port, reader, writer)

        own = socket.gethostbyname(socket.gethostname())
        async with await asyncio.start_server(serve, own, self._port, backlog=512):
            return await super().run()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="pipeline.local.host.compose_service", description="The embedded AWS.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/aws"), help="its state")  # noqa: S108
    parser.add_argument("--function", action="append", default=[], metavar="NAME=URL", help="a function's emulator")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    urls = dict(each.split("=", 1) for each in chosen.function)
    os.umask(0o077)
    root = RootKey(*(os.environ.pop(name) for name in ROOT_KEY))
    return asyncio.run(_run(chosen.folder, chosen.port, urls, root))


async def _run(folder: Path, port: int, urls: Mapping[str, str], root: RootKey) -> int:
    return await ComposeHost(folder, port, urls, root).run()


if __name__ == "__main__":
    sys.exit(main())
