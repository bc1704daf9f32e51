"""The program of the gateway container: relays TCP on the containers' loopback to sockets of the host.

    python3 -c "$(cat relay.py)" '{"9001": "worker-0", "4566": "aws"}'

It runs from a function's image with Python's standard library only, in the network that the functions' containers
share, which has no other way out. It ends with the host's process, when the ``owner`` socket closes.
"""

import asyncio
import contextlib
import functools
import json
import os
import sys

FOLDER = "/host"
relays: set[asyncio.Task[None]] = set()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


async def relay(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        there_reader, there_writer = await asyncio.open_unix_connection(f"{FOLDER}/{name}")
    except OSError:
        writer.close()
        return
    ways = [asyncio.create_task(copy(reader, there_writer)), asyncio.create_task(copy(there_reader, writer))]
    relays.update(ways)  # the loop itself keeps no task
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for way in ways:
        way.cancel()
    relays.difference_update(ways)
    there_writer.close()
    writer.close()


async def main() -> None:
    owner, ready = await asyncio.open_unix_connection(f"{FOLDER}/owner")
    for port, name in json.loads(sys.argv[1]).items():
        await asyncio.start_server(functools.partial(relay, name), "127.0.0.1", int(port), backlog=512)
    ready.write(b"ready")
    await owner.read()
    os._exit(0)


asyncio.run(main())
