"""Functions in containers of docker compose, each under the Runtime Interface Emulator.

What the emulator lacks is added here: it takes one invocation at a time (it panics at two, its issue #97), and it
marks a function's error (#20) and a timeout (#21) by their text only.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from pipeline.local.invocation import FunctionConfig, Invocation, Outcome, Status

PATH = "/2015-03-31/functions/function/invocations"
# An invocation that waited this long is refused as throttled, which callers retry.
QUEUE_SECONDS = 60.0
# INIT counts on top of the function's own time (10 s on Lambda), and the answer has to come back.
_GRACE_SECONDS = 15.0
_TIMED_OUT = re.compile(rb"Task timed out after [0-9.]+ seconds")
_ERROR_MEMBERS = {"errorMessage", "errorType", "requestId", "stackTrace", "cause", "trace"}


class EmulatorRuntime:
    """A ``pipeline.local.invocation.Runtime`` over HTTP.

    urls  by function name, where its emulator listens: "http://fraud-detection:8080"
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = dict(urls)
        self._turns = {name: asyncio.Lock() for name in urls}

    async def invoke(self, function: FunctionConfig, invocation: Invocation) -> Outcome:
        url = self._urls.get(function.name)
        if url is None:
            return Outcome.error("Runtime.NoContainer", f"no container is wired to the function {function.name}")
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await self._turns[function.name].acquire()
        except TimeoutError:
            return Outcome(Status.THROTTLED, b"{}")
        try:
            status, body = await asyncio.to_thread(_post, url, invocation, function.timeout + _GRACE_SECONDS)
        except (OSError, http.client.HTTPException) as error:
            return Outcome.unavailable(f"the container of {function.name} at {url} does not answer ({error})")
        finally:
            self._turns[function.name].release()
        return read_answer(status, body)

    async def prepare(self, function: FunctionConfig) -> None:
        """Docker compose built the images."""

    def follow(self, functions: Sequence[FunctionConfig], warm: Sequence[FunctionConfig]) -> None:
        """Docker compose starts and stops the containers."""

    async def close(self) -> None:
        """Does nothing."""


def read_answer(status: int, body: bytes) -> Outcome:
    """Interpret a response of the Runtime Interface Emulator."""
    if _TIMED_OUT.fullmatch(body):
        return Outcome.error("Sandbox.Timedout", body.decode())
    if status >= 500 or _is_error(body):
        return Outcome(Status.ERROR, body)
    return Outcome(Status.OK, body)


def _is_error(body: bytes) -> bool:
    if b'"errorType"' not in body:
        return False
    with contextlib.suppress(ValueError):
        document = json.loads(body)
        return isinstance(document, dict) and "errorMessage" in document and set(document) <= _ERROR_MEMBERS
    return False


def _post(url: str, invocation: Invocation, seconds: float) -> tuple[int, bytes]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port or 8080, timeout=seconds)
    try:
        headers = {"Content-Type": "application/json"}
        if invocation.trace_id:
            headers["X-Amzn-Trace-Id"] = invocation.trace_id
        connection.request("POST", PATH, invocation.event, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
