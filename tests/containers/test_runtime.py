"""The container runtime: pushed images run as on Lambda, with Lambda's errors."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.containers.conftest import Probe, containers_of
from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import Function, Registry

_NUMBERS = itertools.count(1)


@pytest.fixture
def make(container_aws: EmbeddedAws, image_uri: str, role: str) -> Iterator[Callable[..., Function]]:
    """Make a function of the probe's image, or of another."""
    made: list[str] = []

    def make(uri: str = "", **settings: Any) -> Function:
        name = f"probe-{next(_NUMBERS)}"
        made.append(name)
        return Function.create(container_aws, name, uri or image_uri, role, **{"Timeout": 20, **settings})

    yield make
    for name in made:
        with contextlib.suppress(ClientError):
            container_aws.client("lambda").delete_function(FunctionName=name)


@pytest.fixture
def containers(engine: Any, container_aws: EmbeddedAws) -> Callable[[Function], list[str]]:
    """The ids of a function's running containers."""

    def containers(function: Function) -> list[str]:
        found = containers_of(engine, container_aws.folder, "function")
        label = "transaction-pipeline.local.function"
        return [each["Id"] for each in found if each["Labels"][label] == function.name and each["State"] == "running"]

    return containers


def wait_for(condition: Callable[[], Any], seconds: float = 15) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)
    return found


def test_runs_in_the_environment_that_lambda_promises(make: Callable[..., Function]) -> None:
    function = make(MemorySize=256, Environment={"Variables": {"TABLE_NAME": "table"}})
    answer = function.invoke({"look": []})
    assert answer.error is None, answer.payload
    payload, variables = answer.payload, answer.payload["environment"]
    assert payload["cwd"] == variables["LAMBDA_TASK_ROOT"] == "/var/task"
    assert payload["user"][0] >= 700_000
    assert payload["user"][1] == 990
    assert variables["_HANDLER"] == "handler.handle"
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == function.name
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert variables["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert variables["TABLE_NAME"] == "table"
    assert payload["arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{function.name}"
    assert 15_000 < payload["left"] <= 20_000
    assert payload["capabilities"] == ["CapEff:\t0000000000000000\n", "NoNewPrivs:\t1\n"]


def test_reaches_the_embedded_aws_and_nothing_else(make: Callable[..., Function]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        payload = make().invoke({"look": [own.getsockname(), ["192.0.2.1", 80]]}).payload
    assert payload["aws"] == 403
    assert payload["interfaces"] == ["lo"]
    assert "refused" in payload["outside"][0]
    assert "unreachable" in payload["outside"][1]


def test_no_function_reaches_the_runtime_api_of_another(make: Callable[..., Function]) -> None:
    one, other = make(), make()
    assert one.invoke().error is None
    answers = other.invoke({"next": list(range(9001, 9009))}).payload["next"]
    assert len(answers) >= 7
    assert all("closed" in each or "reset" in each or "refused" in each for each in answers.values()), answers
    assert one.invoke().error is None


@pytest.mark.any_engine
def test_log_has_the_platform_lines_around_what_the_handler_wrote(make: Callable[..., Function]) -> None:
    function = make()
    first, second = function.invoke({"a": 1}), function.invoke({"b": 1})
    request_id = first.payload["id"]
    assert first.log.splitlines()[:4] == [
        "starting", f"START RequestId: {request_id} Version: $LATEST", "event ['a']", f"END RequestId: {request_id}",
    ]  # fmt: skip
    assert "Init Duration:" in first.log.splitlines()[4]
    assert "event ['b']" in second.log
    assert "event ['a']" not in second.log


@pytest.mark.any_engine
def test_a_warm_container_is_used_again(
    make: Callable[..., Function], containers: Callable[[Function], list[str]]
) -> None:
    function = make()
    answers = {function.invoke().payload["container"] for _ in range(5)}
    assert len(answers) == 1
    assert len(containers(function)) == 1


@pytest.mark.parametrize("path", ["/var/task/own", "/etc/own", "/own"])
def test_only_tmp_can_be_written(make: Callable[..., Function], path: str) -> None:
    function = make()
    answer = function.invoke({"write": path})
    assert answer.payload["errorType"] == "OSError"
    assert "Read-only file system" in answer.payload["errorMessage"]
    assert function.invoke({"write": "/tmp/own"}).error is None


def test_a_function_that_uses_too_much_memory_is_ended_and_replaced(make: Callable[..., Function]) -> None:
    function = make(MemorySize=128)
    before = function.invoke().payload["container"]
    answer = function.invoke({"allocate": 300})
    assert answer.payload["errorType"] == "Runtime.ExitError"
    assert answer.payload["errorMessage"].endswith("Runtime exited with error: signal: killed")
    assert function.invoke().payload["container"] != before


@pytest.mark.any_engine
def test_the_time_limit_is_kept(make: Callable[..., Function], containers: Callable[[Function], list[str]]) -> None:
    function = make(Timeout=1)
    function.invoke()
    (before,) = containers(function)
    answer = function.invoke({"sleep": 30})
    assert 1 <= answer.seconds < 10
    assert answer.payload["errorType"] == "Sandbox.Timedout"
    assert answer.payload["errorMessage"].endswith("Task timed out after 1.00 seconds")
    wait_for(lambda: before not in containers(function))
    assert function.invoke().error is None


@pytest.mark.any_engine
def test_a_runtime_that_exits_fails_its_invocation_alone(make: Callable[..., Function]) -> None:
    function = make()
    answer = function.invoke({"exit": 3})
    assert answer.payload["errorType"] == "Runtime.ExitError"
    assert answer.payload["errorMessage"].endswith("Runtime exited with error: exit status 3")
    assert function.invoke().error is None


@pytest.mark.any_engine
def test_an_exception_is_a_function_error(make: Callable[..., Function]) -> None:
    answer = make().invoke({"raise": "no such card"})
    assert (answer.error, answer.payload["errorType"]) == ("Unhandled", "ValueError")


@pytest.mark.any_engine
def test_a_container_killed_in_the_middle_is_a_service_error_and_is_replaced(
    make: Callable[..., Function], containers: Callable[[Function], list[str]], engine: Any
) -> None:
    function = make()
    function.invoke()
    (container,) = containers(function)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(function.invoke, {"sleep": 15})
        time.sleep(0.5)
        engine.kill(container)
        with pytest.raises(ClientError, match="was killed from outside") as refused:
            running.result()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
    assert function.invoke().error is None
    assert container not in containers(function)


@pytest.mark.any_engine
def test_an_idle_container_killed_from_outside_is_not_noticed(
    make: Callable[..., Function], containers: Callable[[Function], list[str]], engine: Any
) -> None:
    function = make()
    function.invoke()
    (container,) = containers(function)
    engine.kill(container)
    wait_for(lambda: container not in containers(function))
    assert function.invoke().error is None


@pytest.mark.parametrize(
    ("config", "error_type", "said"),
    [
        ({"EntryPoint": ["/no/such/program"]}, "Runtime.InvalidEntrypoint", "no such file or directory"),
        ({"EntryPoint": ["/etc/passwd"]}, "Runtime.InvalidEntrypoint", "permission denied"),
        ({"EntryPoint": ["/bin/sh", "-c", "exit 7"]}, "Runtime.ExitError", "exit status 7"),
        ({"Command": ["nothing.handle"]}, "Runtime.ImportModuleError", "No module named 'nothing'"),
    ],
)
def test_an_image_that_does_not_start_says_why(
    make: Callable[..., Function], config: dict[str, Any], error_type: str, said: str
) -> None:
    payload = make(ImageConfig=config).invoke().payload
    assert payload["errorType"] == error_type
    assert said.lower() in payload["errorMessage"].lower()


@pytest.mark.any_engine
def test_two_hundred_concurrent_invocations_are_all_answered(
    make: Callable[..., Function], containers: Callable[[Function], list[str]], container_aws: EmbeddedAws
) -> None:
    function = make(MemorySize=128, Timeout=60)
    function.invoke()
    config = Config(max_pool_connections=200, retries={"total_max_attempts": 1})
    client = container_aws.client("lambda", config=config)

    def invoke(number: int) -> Any:
        answer = client.invoke(FunctionName=function.name, Payload=json.dumps({"number": number}))
        assert "FunctionError" not in answer
        return json.loads(answer["Payload"].read())

    with ThreadPoolExecutor(200) as threads:
        answers = list(threads.map(invoke, range(200)))
    assert len({answer["id"] for answer in answers}) == 200
    assert len({answer["container"] for answer in answers}) <= len(containers(function)) <= 32


@pytest.mark.any_engine
def test_a_busy_container_does_not_keep_others_waiting(
    make: Callable[..., Function], containers: Callable[[Function], list[str]], engine: Any
) -> None:
    function = make(Timeout=120)
    first = function.invoke().payload["container"]
    (busy,) = containers(function)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(function.invoke, {"sleep": 100})
        time.sleep(0.5)
        assert function.invoke().payload["container"] != first
        assert not running.done()
        engine.kill(busy)
        assert isinstance(running.exception(), ClientError)


@pytest.mark.any_engine
def test_a_switch_of_the_image_loses_no_invocation(
    make: Callable[..., Function], containers: Callable[[Function], list[str]], probe: Probe
) -> None:
    function = make()
    second = probe.push(2)
    assert function.invoke().payload["version"] == 1
    (before,) = containers(function)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(function.invoke, {"sleep": 2})
        time.sleep(0.5)
        function.update(second)
        assert function.invoke().payload["version"] == 2
        assert running.result().payload["version"] == 1
    wait_for(lambda: before not in containers(function))


@pytest.mark.any_engine
def test_an_image_deleted_from_the_registry_is_told(make: Callable[..., Function], probe: Probe) -> None:
    uri = probe.push(9, "deleted")
    # A function on an image that does not exist is refused, so a layer is removed, as ECR does after a deletion.
    Registry(probe.aws, b"").take_layer("deleted", uri.partition("@")[2])
    payload = make(uri).invoke().payload
    assert payload["errorType"] == "ImageUnavailable"
    assert "is not in the registry" in payload["errorMessage"]


@pytest.mark.any_engine
def test_a_function_on_its_placeholder_says_so(make: Callable[..., Function], container_aws: EmbeddedAws) -> None:
    empty = b"\x00" * 10240
    labels = {"transaction-pipeline.placeholder": "true"}
    uri = Registry(container_aws, empty).push_layers("placeholder", [empty], Labels=labels)
    payload = make(uri).invoke().payload
    assert payload["errorType"] == "PlaceholderImage"
