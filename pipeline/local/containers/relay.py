"""The program of the gateway container: relays TCP on the containers' loopback to sockets of the host.

    python3 -c "$(cat relay.py)" '{"9001": ["worker-0", 20000], "4566": ["aws", null]}'

It runs from a function's image with Python's standard library only, in the network that the functions' containers
share, which has no other connection. Each container has a separate user, and a port with a user accepts only that
user's connections, so no function can answer for another one. It ends with the host, when the ``owner`` socket closes.
"""

import asyncio
import contextlib
import functools
import json
import os
import socket
import sys

FOLDER = "/host"
relays: set[asyncio.Task[None]] = set()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def user_of(peer: tuple[str, int], own: tuple[str, int]) -> int | None:
    """The user whose socket is at the other end of a connection (proc(5), "/proc/net/tcp")."""
    local, remote = (f"{socket.inet_aton(host)[::-1].hex().upper()}:{port:04X}" for host, port in (peer, own))
    with open("/proc/net/tcp") as table:  # noqa: PTH123
        for line in table:
            fields = line.split()
            if fields[1:3] == [local, remote]:
                return int(fields[7])
    return None


async def relay(name: str, user: int | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if user is not None:
        peer, own = (writer.get_extra_info(each) for each in ("peername", "sockname"))
        if peer is None or user_of(peer, own) != user:
            writer.close()
            return
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
    for port, (name, user) in json.loads(sys.argv[1]).items():
        await asyncio.start_server(functools.partial(relay, name, user), "127.0.0.1", int(port), backlog=512)
    ready.write(b"ready")
    await owner.read()
    os._exit(0)


asyncio.run(main())
