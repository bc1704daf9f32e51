"""Send invocations from the emulator's process to the runtime's, over one inherited socket pair.

Each frame has several parts; an id matches concurrent invocations with their results. No other process can connect, and
each side sees the end of the other as the end of the stream.

    emulator -> runtime   {"kind": "invoke", "id", "request_id", "arn", "trace_id"}, function, event
    emulator -> runtime   {"kind": "prepare", "id"}, function
    emulator -> runtime   {"kind": "functions", "warm": [index…]}, function…
    runtime -> emulator   {"id", "status", "log"}, payload

The emulator's side is ``pipeline.local.emulator.patches``, with threads, because ministack invokes from threads;
this is the runtime's, with asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

from pipeline.local.invocation import FunctionConfig, Invocation, Outcome, Runtime, Status

_COUNT = struct.Struct("!I")
_ENDING = "the runtime of the functions is ending"

log = logging.getLogger("pipeline.local.emulator.bridge")


def pack(*parts: bytes) -> bytes:
    """A frame: the number of parts, their lengths, the parts."""
    head = struct.pack(f"!I{len(parts)}I", len(parts), *map(len, parts))
    return b"".join((head, *parts))


def read_frame(stream: BinaryIO) -> list[bytes] | None:
    """The parts of the next frame of a buffered stream, or None at its end."""
    head = stream.read(_COUNT.size)
    if len(head) < _COUNT.size:
        return None
    (count,) = _COUNT.unpack(head)
    sizes = struct.unpack(f"!{count}I", stream.read(4 * count))
    return [stream.read(size) for size in sizes]


async def receive_frame(reader: asyncio.StreamReader) -> list[bytes] | None:
    """The same from an asyncio stream."""
    try:
        (count,) = _COUNT.unpack(await reader.readexactly(_COUNT.size))
        sizes = struct.unpack(f"!{count}I", await reader.readexactly(4 * count))
        return [await reader.readexactly(size) for size in sizes]
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


class InvocationServer:
    """Serves the emulator's invocations from a runtime until the emulator closes its end."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._parsed: dict[bytes, FunctionConfig] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False

    async def serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=2**20)
        try:
            while (parts := await receive_frame(reader)) is not None:
                header = json.loads(parts[0])
                if header["kind"] == "functions":
                    if not self._ending:
                        self._follow(parts[1:], header["warm"])
                else:
                    task = asyncio.create_task(self._answer(header, parts[1:], writer))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        finally:
            await self.end()
            writer.close()

    async def end(self) -> None:
        """Cancel running invocations and refuse new ones, with a service error that callers may retry."""
        self._ending = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _follow(self, documents: Sequence[bytes], warm: Sequence[int]) -> None:
        wanted, functions = set(warm), []
        kept: dict[bytes, FunctionConfig] = {}
        ready: list[FunctionConfig] = []
        for index, document in enumerate(documents):
            try:
                function = self._parse(document)
            except ValueError:
                continue  # reported when it is invoked
            kept[document] = function
            functions.append(function)
            if index in wanted:
                ready.append(function)
        self._parsed = kept
        self._runtime.follow(functions, ready)

    def _parse(self, document: bytes) -> FunctionConfig:
        function = self._parsed.get(document)
        if function is None:
            function = self._parsed[document] = FunctionConfig.parse(json.loads(document))
        return function

    async def _answer(self, header: dict[str, Any], parts: Sequence[bytes], out: asyncio.StreamWriter) -> None:
        outcome = await (self._prepare(parts[0]) if header["kind"] == "prepare" else self._outcome(header, *parts))
        answer = {"id": header["id"], "status": outcome.status, "log": outcome.log}
        with contextlib.suppress(ConnectionError):
            out.write(pack(json.dumps(answer).encode(), outcome.payload))
            await out.drain()

    async def _prepare(self, document: bytes) -> Outcome:
        """Returns when the function's image is ready or unavailable; its invocation reports an error."""
        with contextlib.suppress(ValueError):
            await self._runtime.prepare(self._parse(document))
        return Outcome(Status.OK, b"")

    async def _outcome(self, header: dict[str, Any], document: bytes, event: bytes) -> Outcome:
        if self._ending:
            return Outcome.unavailable(_ENDING)
        try:
            function = self._parse(document)
        except ValueError as error:
            return Outcome.error("ImageUnavailable", str(error))
        invocation = Invocation(header["request_id"], event, header["arn"], header["trace_id"])
        try:
            return await self._runtime.invoke(function, invocation)
        except asyncio.CancelledError:
            return Outcome.unavailable(_ENDING)
        except Exception as error:
            log.exception("invocation %s failed in the runtime", invocation.request_id)
            return Outcome.unavailable(f"{type(error).__name__}: {error}")
