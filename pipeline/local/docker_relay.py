"""The program of the gateway container: relays TCP on the containers' loopback to sockets of the host.

    python3 -c "$(cat docker_relay.py)" '{"9001": "worker-0", "4566": "aws"}'

It runs out of a function's image with nothing but Python's standard library, in the network that the functions'
containers share, which has no other way out. It ends when the host's process does: then the ``owner`` socket ends.
"""

import asyncio
import functools
import json
import os
import sys

FOLDER = "/host"


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


async def relay(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        there_reader, there_writer = await asyncio.open_unix_connection(f"{FOLDER}/{name}")
        try:
            await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))
        finally:
            there_writer.close()
    except OSError:
        pass
    finally:
        writer.close()


async def main() -> None:
    owner, ready = await asyncio.open_unix_connection(f"{FOLDER}/owner")
    for port, name in json.loads(sys.argv[1]).items():
        await asyncio.start_server(functools.partial(relay, name), "127.0.0.1", int(port), backlog=512)
    ready.write(b"ready")
    await owner.read()
    os._exit(0)


asyncio.run(main())
