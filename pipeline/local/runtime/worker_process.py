"""The process of a worker: a process of this machine or a container, behind one protocol.

    Program.new_process(channel)  ->  Process.start() … on_exit(Exit)

``Worker`` implements Lambda's rules (INIT, timeout, one invocation at a time) on this protocol.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.local.invocation import Outcome, Status

_OUTPUT_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a worker did not start, or ended. ``payload`` is the error that the runtime client reported, if any."""

    error_type: str
    message: str
    payload: bytes | None = None

    def outcome(self, request_id: str, log: str) -> Outcome:
        if self.payload is not None:
            return Outcome(Status.ERROR, self.payload, log)
        return Outcome.error(self.error_type, f"RequestId: {request_id} Error: {self.message}", log)


class StartFailed(Exception):
    """The image's entrypoint cannot be started: an error of the function, not of this machine."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended.

    status  the exit status, ``-signal`` for a signal, None if unknown
    lost    why it ended for a reason outside of the function, such as an engine that stopped; "" otherwise
    """

    status: int | None = None
    lost: str = ""


class Output:
    """The output of a process since ``take``, up to 4 MB; further bytes are counted."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        room = max(0, _OUTPUT_MAX - len(self._kept))
        self._kept += data[:room]
        self._dropped += max(0, len(data) - room)

    def take(self) -> str:
        text = self._kept.decode(errors="replace").rstrip("\n")
        if self._dropped:
            text += f"\n({self._dropped} more bytes were written)"
        self._kept.clear()
        self._dropped = 0
        return text


@dataclass(frozen=True, slots=True)
class Channel:
    """The callbacks from a process to its worker.

    runtime_api  creates the protocol of one connection to the worker's Runtime API
    on_exit      called once on the event loop when the process has ended and its output is complete
    output       receives the process's output
    """

    runtime_api: Callable[[], asyncio.Protocol]
    on_exit: Callable[[Exit], None]
    output: Output = field(default_factory=Output)


class Process(Protocol):
    """One process of a program. All methods are called on the event loop."""

    async def start(self) -> None:
        """Start it. Raises StartFailed, and OSError if this machine or the engine lacks resources.

        ``on_exit`` is not called after an exception.
        """
        ...

    @property
    def alive(self) -> bool: ...

    @property
    def limits_memory(self) -> bool:
        """Whether the kernel enforces the function's memory; otherwise the worker watches ``memory_kb``."""
        ...

    def memory_kb(self, *, peak: bool = False) -> int:
        """Resident memory now, or the most there was; 0 if unknown."""
        ...

    async def drain_output(self, *, starting: bool = False) -> None:
        """Wait until all output so far is in the channel."""
        ...

    def kill(self) -> None:
        """Begin to end the process and its descendants; may be called at any time, and repeatedly."""
        ...


class Program(Protocol):
    """The program of one function configuration's workers; its image is ready."""

    def new_process(self, channel: Channel) -> Process: ...


def exit_status(status: int) -> int:
    """The status of a container engine or of bubblewrap, where ``128 + signal`` is a signal's, as ``Exit`` has it."""
    return -(status - 128) if 0 < status - 128 < signal.NSIG else status
