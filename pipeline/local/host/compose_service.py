"""The embedded AWS as a service of docker compose: its functions are other containers.

    python3 -m pipeline.local.host.compose_service --port 4566 --function NAME=http://HOST:8080 …

It listens on the container's loopback, where it calls itself, and a relay passes on what comes to the container's own
address, so that the other containers and a published port reach it.
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

from pipeline.local.containers.gateway import relay_to
from pipeline.local.containers.rie import EmulatorRuntime
from pipeline.local.host.main import Host, take_lock
from pipeline.local.invocation import Runtime


class ComposeHost(Host):
    """A Host whose functions run elsewhere."""

    def __init__(self, folder: Path, port: int, urls: Mapping[str, str]) -> None:
        for name in ("tmp", "state", "s3"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        super().__init__(folder, port, take_lock(folder), os.dup(sys.stdout.fileno()), attached=False)
        self._urls = urls

    def _start_runtime(self) -> Runtime:
        return EmulatorRuntime(self._urls)

    async def run(self) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await relay_to(self._port, reader, writer)

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
    return asyncio.run(_run(chosen.folder, chosen.port, urls))


async def _run(folder: Path, port: int, urls: Mapping[str, str]) -> int:
    return await ComposeHost(folder, port, urls).run()


if __name__ == "__main__":
    sys.exit(main())
