"""One invocation at a time on one worker, whatever order its runtime's requests come in."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from pipeline.local.invocation import FunctionConfig, Invocation, Outcome, Status
from pipeline.local.runtime.runtime_api import RuntimeConnection
from pipeline.local.runtime.worker import Worker
from pipeline.local.runtime.worker_process import Channel, Exit

FUNCTION = FunctionConfig.parse(
    {
        "FunctionName": "f",
        "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
        "ImageUri": f"000000000000.dkr.ecr.us-east-1.amazonaws.com/f@sha256:{'0' * 64}",
        "Timeout": 1,
    }
)


class Pretended:
    """A program and its process, which is nothing but alive; ``channel`` is what it was given."""

    alive = True
    limits_memory = True

    def new_process(self, channel: Channel) -> Pretended:
        self.channel = channel
        return self

    async def start(self) -> None: ...

    def memory_kb(self, *, peak: bool = False) -> int:
        return 2048

    async def drain_output(self, *, starting: bool = False) -> None: ...

    def kill(self) -> None:
        self.channel.on_exit(Exit(-9))


class Connection:
    """The runtime client's side: takes events and remembers them."""

    open = True

    def __init__(self) -> None:
        self.events: list[bytes] = []

    def send_event(self, _headers: dict[str, str], event: bytes) -> bool:
        self.events.append(event)
        return True


def invocation(name: str) -> Invocation:
    return Invocation(name, json.dumps(name).encode(), FUNCTION.arn)


def test_a_runtime_that_asks_at_once_gets_the_next_event_after_its_answer_is_concluded() -> None:
    connection = Connection()
    asked = cast(RuntimeConnection, connection)
    second: list[asyncio.Task[Outcome]] = []

    def give_out_again(worker: Worker) -> None:
        """As a pool does when another invocation waits."""
        if connection.events == [b'"one"']:
            second.append(asyncio.create_task(worker.invoke(invocation("two"))))

    async def talk() -> tuple[Outcome, Outcome]:
        worker = Worker(FUNCTION, Pretended(), give_out_again, _ignore)
        await worker.start()
        worker.next_asked(asked)
        await worker.ready
        first = asyncio.create_task(worker.invoke(invocation("one")))
        await asyncio.sleep(0)
        # The answer and the next request arrive together, before the task that waits for the answer runs again.
        assert worker.answered("one", b"1")
        worker.next_asked(asked)
        one = await first
        while connection.events[-1] != b'"two"':
            await asyncio.sleep(0)
        assert worker.answered("two", b"2")
        return one, await second[0]

    outcomes = asyncio.run(talk())
    assert [(outcome.status, outcome.payload) for outcome in outcomes] == [(Status.OK, b"1"), (Status.OK, b"2")]


def test_a_worker_is_idle_once_per_request_for_an_event() -> None:
    idle: list[Worker] = []

    async def talk() -> None:
        connection = cast(RuntimeConnection, Connection())
        worker = Worker(FUNCTION, Pretended(), idle.append, _ignore)
        await worker.start()
        worker.next_asked(connection)
        await worker.ready
        assert len(idle) == 1
        task = asyncio.create_task(worker.invoke(invocation("one")))
        await asyncio.sleep(0)
        worker.answered("one", b"1")
        await task
        assert len(idle) == 1
        worker.next_asked(connection)
        assert len(idle) == 2

    asyncio.run(talk())


def _ignore(_worker: Any) -> None:
    """The end of a worker is not what these tests are about."""


def test_a_process_that_is_lost_is_a_service_error_and_one_that_exits_a_function_error() -> None:
    async def end(how: Exit) -> Outcome:
        program = Pretended()
        worker = Worker(FUNCTION, program, _ignore, _ignore)
        await worker.start()
        worker.next_asked(cast(RuntimeConnection, Connection()))
        await worker.ready
        task = asyncio.create_task(worker.invoke(invocation("one")))
        await asyncio.sleep(0)
        program.channel.output.add(b"last words\n")
        program.channel.on_exit(how)
        outcome = await task
        assert worker.ended.done()
        assert not worker.usable
        return outcome

    assert asyncio.run(end(Exit(lost="the engine stopped"))).status is Status.UNAVAILABLE
    outcome = asyncio.run(end(Exit(-15)))
    assert outcome.status is Status.ERROR
    assert json.loads(outcome.payload)["errorMessage"].endswith("exited with error: signal: terminated")
    assert "last words" in outcome.log


def test_output_beyond_the_limit_is_counted() -> None:
    channel = Channel(asyncio.Protocol, _ignore)
    channel.output.add(b"x" * (4 << 20))
    channel.output.add(b"yyy")
    assert channel.output.take().endswith("x\n(3 more bytes were written)")
    assert channel.output.take() == ""
