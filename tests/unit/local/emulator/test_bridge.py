"""Invocations cross the bridge in both directions, with a runtime that is a few lines long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.local.emulator.bridge import InvocationServer
from pipeline.local.emulator.bridge_client import InvocationClient
from pipeline.local.invocation import FunctionConfig, Invocation, Outcome, Status
from tests.unit.local.test_invocation import RECORD


class Echo:
    """Responds as the event says."""

    def __init__(self) -> None:
        self.followed: list[list[str]] = []
        self.warm: list[list[str]] = []
        self.prepared: list[str] = []

    async def prepare(self, function: FunctionConfig) -> None:
        await asyncio.sleep(0.1)
        self.prepared.append(function.name)

    async def invoke(self, function: FunctionConfig, invocation: Invocation) -> Outcome:
        event = json.loads(invocation.event)
        await asyncio.sleep(event.get("sleep", 0))
        match event.get("do"):
            case "raise":
                raise OSError("no more processes")
            case "error":
                return Outcome.error("ValueError", "bad", "START\nEND")
            case "throttle":
                return Outcome(Status.THROTTLED, b"{}")
            case "text":
                return Outcome(Status.OK, b"not json")
        return Outcome(Status.OK, json.dumps([function.name, event]).encode(), "a log")

    def follow(self, functions: Sequence[FunctionConfig], warm: Sequence[FunctionConfig]) -> None:
        self.followed.append([function.name for function in functions])
        self.warm.append([f"{function.name}:{function.version}" for function in warm])

    async def close(self) -> None: ...


def fake_lambda(records: dict[str, Any] | None = None) -> Any:
    """As much of ministack's Lambda service as the client reads."""
    return SimpleNamespace(
        execution_credentials=lambda config: {"AWS_ACCESS_KEY_ID": "ASIA"},
        _xray_trace_id_for_invocation=lambda config: None,
        _throttle_response=lambda code, message: {"throttle": True, "error": True, "body": {"Reason": code}, "log": ""},
        _functions=SimpleNamespace(_data=records if records is not None else {}),
    )


@contextlib.contextmanager
def bridge(runtime: Echo, service: Any) -> Iterator[tuple[InvocationClient, InvocationServer, Any]]:
    ours, theirs = socket.socketpair()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = InvocationServer(runtime)
    serving = asyncio.run_coroutine_threadsafe(server.serve(ours), loop)
    client = InvocationClient(theirs, service)
    try:
        yield client, server, loop
    finally:
        theirs.shutdown(socket.SHUT_RDWR)
        serving.result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        theirs.close()


def test_an_answer_comes_back_with_its_log() -> None:
    with bridge(Echo(), fake_lambda()) as (client, _, _):
        result = client.invoke(RECORD, {"é": 1}, "id")
    assert result == {"body": ["name-dev", {"é": 1}], "log": "a log", "log_source": "rie"}


def test_an_image_is_waited_for_until_it_is_ready() -> None:
    echo = Echo()
    with bridge(echo, fake_lambda()) as (client, _, _):
        client.prepare(RECORD)
        assert echo.prepared == ["name-dev"]
        # One that the runtime could never have is not waited for.
        client.prepare(RECORD | {"ImageUri": "registry/name:latest"})
    assert echo.prepared == ["name-dev"]
    with pytest.raises(Exception, match="is gone"):
        client.prepare(RECORD)


def test_an_error_is_an_error_with_its_body() -> None:
    with bridge(Echo(), fake_lambda()) as (client, _, _):
        result = client.invoke(RECORD, {"do": "error"}, "id")
    assert result["error"] is True
    assert result["body"] == {"errorType": "ValueError", "errorMessage": "bad"}


def test_an_answer_that_is_no_json_is_given_as_it_is() -> None:
    with bridge(Echo(), fake_lambda()) as (client, _, _):
        result = client.invoke(RECORD, {"do": "text"}, "id")
    assert (result["body"], result["raw_payload"]) == ("not json", True)


def test_a_runtime_without_a_free_worker_throttles() -> None:
    with bridge(Echo(), fake_lambda()) as (client, _, _):
        result = client.invoke(RECORD, {"do": "throttle"}, "id")
    assert result["throttle"]


def test_trouble_of_the_runtime_is_a_service_error() -> None:
    with bridge(Echo(), fake_lambda()) as (client, _, _), pytest.raises(Exception, match="no more processes") as caught:
        client.invoke(RECORD, {"do": "raise"}, "id")
    assert caught.value.error == "Lambda.ServiceException"  # type: ignore[attr-defined]


def test_an_image_by_tag_is_told_by_the_answer() -> None:
    with bridge(Echo(), fake_lambda()) as (client, _, _):
        result = client.invoke(RECORD | {"ImageUri": "registry.example/name:latest"}, {}, "id")
    assert result["body"]["errorType"] == "ImageUnavailable"


def test_many_at_a_time_get_their_own_answers() -> None:
    with bridge(Echo(), fake_lambda()) as (client, _, _), ThreadPoolExecutor(50) as threads:
        events = [{"n": number, "sleep": (50 - number) / 500} for number in range(50)]
        results = list(threads.map(lambda event: client.invoke(RECORD, event, "id"), events))
    assert [result["body"][1] for result in results] == events


def test_a_large_event_and_answer_cross_whole() -> None:
    event = {"x": "é" * 3_000_000}
    with bridge(Echo(), fake_lambda()) as (client, _, _):
        assert client.invoke(RECORD, event, "id")["body"][1] == event


def test_an_end_of_the_runtime_answers_what_waits_and_what_comes() -> None:
    with bridge(Echo(), fake_lambda()) as (client, server, loop), ThreadPoolExecutor() as threads:
        waiting = threads.submit(client.invoke, RECORD, {"sleep": 60}, "id")
        while not server._tasks:
            pass
        asyncio.run_coroutine_threadsafe(server.end(), loop).result(5)
        with pytest.raises(Exception, match="ending"):
            waiting.result(5)
        with pytest.raises(Exception, match="ending"):
            client.invoke(RECORD, {}, "id")


def test_a_runtime_that_is_gone_is_a_service_error() -> None:
    ours, theirs = socket.socketpair()
    client = InvocationClient(theirs, fake_lambda())
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(client.invoke, RECORD, {}, "id")
        assert ours.recv(1)
        ours.close()
        with pytest.raises(Exception, match="gone") as caught:
            waiting.result(5)
    assert caught.value.error == "Lambda.ServiceException"  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="gone"):
        client.invoke(RECORD, {}, "id")
    theirs.close()


def test_a_function_that_is_gone_before_anybody_looks_is_told_of() -> None:
    runtime = Echo()
    with bridge(runtime, fake_lambda()) as (client, _, _):
        _until(lambda: runtime.followed == [[]])
        client.invoke(RECORD, {}, "id")
        _until(lambda: runtime.followed == [[], []])


def test_changes_of_functions_are_followed() -> None:
    runtime, records = Echo(), {}
    image = RECORD | {"PackageType": "Image"}
    with bridge(runtime, fake_lambda(records)):
        records["one"] = {"config": image, "versions": {}, "aliases": {}}
        records["zip"] = {"config": {"PackageType": "Zip"}, "versions": {}, "aliases": {}}
        _until(lambda: runtime.followed[-1:] == [["name-dev"]])
        records["one"]["versions"] = {"1": {"config": image | {"Version": "1"}}}
        records["one"]["aliases"] = {"live": {"FunctionVersion": "1"}}
        _until(lambda: runtime.warm[-1:] == [["name-dev:1"]])
        assert runtime.followed[-1] == ["name-dev", "name-dev"]
        records.clear()
        _until(lambda: runtime.followed[-1:] == [[]])


def _until(condition: Any) -> None:
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come")
