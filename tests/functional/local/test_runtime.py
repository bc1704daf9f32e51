"""The process runtime: what was pushed runs as on Lambda, in all the ways it can go well or badly."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from pipeline.local.host_state import read_state
from pipeline.local.processes import descendants
from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import Function, Registry, make_role, runtime_client, tar

# A worker leaves files named after itself where only it and this machine's root can see them; see ``Workers``.
HANDLER = """
import os, sys, time, uuid
print("starting")
WORKER = uuid.uuid4().hex
os.chdir(os.environ["TMPDIR"])
open(f"worker-{WORKER}", "w").write(f"version {VERSION}")
os.chdir(os.environ["LAMBDA_TASK_ROOT"])

def handle(event, context):
    print("event", sorted(event))
    own = os.environ["TMPDIR"] + "/"
    if "write" in event:
        open(own + event["write"], "w").write(WORKER)
    if "sleep" in event:
        time.sleep(event["sleep"])
    while "until" in event and not os.path.exists(own + event["until"]):
        time.sleep(0.01)
    if "raise" in event:
        raise ValueError(event["raise"])
    if "exit" in event:
        os._exit(event["exit"])
    if "allocate" in event:
        kept = bytearray(event["allocate"] << 20)
        time.sleep(30)
    if "text" in event:
        return {"text": event["text"]}
    if "answer" in event:
        return "x" * event["answer"]
    return {
        "version": VERSION, "worker": WORKER, "id": context.aws_request_id, "cwd": os.getcwd(),
        "path": sys.path, "arn": context.invoked_function_arn, "left": context.get_remaining_time_in_millis(),
        "environment": dict(os.environ), "modules": sorted(name for name in sys.modules if "." not in name),
    }
"""


def handler(version: int = 1) -> dict[str, str]:
    return {"handler.py": f"VERSION = {version}\n{HANDLER}"}


@pytest.fixture(scope="session")
def registry(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(embedded_aws, tar(runtime_client(tmp_path_factory.mktemp("client"))))


@pytest.fixture(scope="session")
def role(embedded_aws: EmbeddedAws) -> str:
    return make_role(embedded_aws, "runtime")


_NUMBERS = itertools.count(1)


@pytest.fixture
def make(embedded_aws: EmbeddedAws, registry: Registry, role: str) -> Iterator[Callable[..., Function]]:
    """Make a function of a handler's files, or of an image that is there."""
    made: list[str] = []

    def make(files: dict[str, str] | None = None, *, uri: str = "", image: Any = None, **settings: Any) -> Function:
        name = f"function-{next(_NUMBERS)}"
        uri = uri or registry.push(name, files or handler(), **(image or {}))
        made.append(name)
        return Function.create(embedded_aws, name, uri, settings.pop("role", role), **settings)

    yield make
    client = embedded_aws.client("lambda")
    for name in made:
        with contextlib.suppress(client.exceptions.ResourceNotFoundException):
            client.delete_function(FunctionName=name)


@dataclass(frozen=True)
class Workers:
    """The processes of functions, found by the files that they leave in their temporary folders."""

    host: int

    def temporary_folders(self) -> dict[int, Path]:
        """By process: its /tmp as root sees it, or its folder on this machine if it has no sandbox."""
        found = {}
        for pid in descendants(self.host):
            with contextlib.suppress(OSError, StopIteration):
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                own = next(each for each in variables if each.startswith(b"TMPDIR=")).partition(b"=")[2].decode()
                found[pid] = Path(f"/proc/{pid}/root{own}")
        return found

    def process(self, worker: str) -> int | None:
        """The process that runs the handler, whatever started it."""
        found = [pid for pid, folder in self.temporary_folders().items() if (folder / f"worker-{worker}").exists()]
        return found[-1] if found else None

    def find(self, name: str) -> Path | None:
        """A file that a worker wrote."""
        for folder in self.temporary_folders().values():
            if (folder / name).exists():
                return folder / name
        return None

    def of_version(self, version: int) -> set[str]:
        """The workers that started with this version of the handler, and live."""
        files = {
            each.name: each.read_text() for folder in self.temporary_folders().values()
            for each in folder.glob("worker-*")
        }  # fmt: skip
        return {name for name, content in files.items() if content == f"version {version}"}


@pytest.fixture(scope="session")
def workers(embedded_aws: EmbeddedAws) -> Workers:
    state = read_state(embedded_aws.folder)
    assert state is not None
    return Workers(state.pid)


def wait_for(condition: Callable[[], Any], seconds: float = 10) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.01)
    return found


def test_runs_in_the_environment_that_lambda_promises(make: Callable[..., Function], embedded_aws: EmbeddedAws) -> None:
    function = make(Environment={"Variables": {"TABLE_NAME": "table"}})
    answer = function.invoke()
    assert answer.error is None
    payload, variables = answer.payload, answer.payload["environment"]
    assert payload["cwd"] == variables["LAMBDA_TASK_ROOT"]
    assert variables["LAMBDA_TASK_ROOT"].endswith("/var/task")
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == function.name
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert variables["AWS_LAMBDA_LOG_GROUP_NAME"] == function.name
    assert variables["_HANDLER"] == "handler.handle"
    assert variables["AWS_REGION"] == "us-east-1"
    assert variables["AWS_ENDPOINT_URL"] == embedded_aws.endpoint
    assert variables["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert variables["TABLE_NAME"] == "table"
    assert payload["arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{function.name}"
    assert 4000 < payload["left"] <= 5000


def test_sees_the_packages_of_its_image_and_no_others(make: Callable[..., Function]) -> None:
    payload = make().invoke().payload
    assert not [path for path in payload["path"] if "site-packages" in path or "dist-packages" in path]
    assert "awslambdaric" in payload["modules"]
    assert not {"site", "botocore", "pipeline"} & set(payload["modules"])


def test_does_not_inherit_the_variables_of_who_started_it(make: Callable[..., Function]) -> None:
    variables = make().invoke().payload["environment"]
    assert not {"VIRTUAL_ENV", "PYTEST_CURRENT_TEST", "USER", "PWD"} & set(variables)


def test_log_has_the_platform_lines_around_what_the_handler_wrote(make: Callable[..., Function]) -> None:
    function = make()
    first, second = function.invoke({"a": 1}), function.invoke({"b": 1})
    request_id = first.payload["id"]
    lines = first.log.splitlines()
    assert lines[:3] == ["starting", f"START RequestId: {request_id} Version: $LATEST", "event ['a']"]
    assert lines[3] == f"END RequestId: {request_id}"
    assert "Init Duration:" in lines[4]
    assert "Init Duration:" not in second.log
    assert "event ['b']" in second.log
    assert "event ['a']" not in second.log


def test_log_lines_are_in_the_log_group(make: Callable[..., Function], embedded_aws: EmbeddedAws) -> None:
    function = make()
    request_id = function.invoke({"seen": 1}).payload["id"]
    events = embedded_aws.client("logs").filter_log_events(logGroupName=function.name)["events"]
    messages = [event["message"] for event in events]
    assert "event ['seen']" in messages
    assert sum(f"START RequestId: {request_id}" in message for message in messages) == 1
    assert sum(message.startswith(f"REPORT RequestId: {request_id}") for message in messages) == 1


def test_an_exception_of_the_handler_is_a_function_error(make: Callable[..., Function]) -> None:
    answer = make().invoke({"raise": "no such card"})
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "ValueError"
    assert answer.payload["errorMessage"] == "no such card"
    assert "handler.py" in answer.payload["stackTrace"][0]


def test_half_a_surrogate_pair_does_not_look_like_a_failure_of_the_service(make: Callable[..., Function]) -> None:
    """The function was invoked. Its runtime client, AWS's own, ends on an exception with such a text."""
    function = make()
    raised = function.invoke({"raise": "\ud800"})
    assert (raised.error, raised.payload["errorType"]) == ("Unhandled", "Runtime.ExitError")
    answered = function.invoke({"text": "\ud800"})
    assert (answered.error, answered.payload) == (None, {"text": "\ud800"})


def test_a_process_that_ends_fails_its_invocation_and_the_next_finds_another(make: Callable[..., Function]) -> None:
    function = make()
    before = function.invoke().payload["worker"]
    answer = function.invoke({"exit": 3})
    assert answer.payload["errorType"] == "Runtime.ExitError"
    assert answer.payload["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")
    assert function.invoke().payload["worker"] != before


def test_a_worker_killed_from_outside_fails_its_invocation_alone(
    make: Callable[..., Function], workers: Workers
) -> None:
    function = make()
    with ThreadPoolExecutor() as threads:
        killed = threads.submit(function.invoke, {"sleep": 4, "write": "to be killed"})
        other = threads.submit(function.invoke, {"sleep": 1})
        worker = wait_for(lambda: workers.find("to be killed")).read_text()
        os.kill(wait_for(lambda: workers.process(worker)), signal.SIGKILL)
        assert killed.result().payload["errorMessage"].endswith("Runtime exited with error: signal: killed")
        assert other.result().error is None
    assert function.invoke().error is None


def test_an_idle_worker_killed_from_outside_is_not_noticed(make: Callable[..., Function], workers: Workers) -> None:
    function = make()
    for _ in range(5):
        worker = function.invoke().payload["worker"]
        pid = wait_for(lambda worker=worker: workers.process(worker))
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(pid, signal.SIGKILL)
        # Until the kernel has done it, an event may still go to the worker, and ends with it.
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists())
        if parent != workers.host:  # the sandbox around it ends a moment later
            wait_for(lambda parent=parent: not Path(f"/proc/{parent}").exists())
            time.sleep(0.05)
        assert function.invoke().error is None


def test_the_time_limit_is_kept(make: Callable[..., Function], workers: Workers) -> None:
    function = make(Timeout=2)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(function.invoke, {"sleep": 30, "write": "too slow"})
        pid = workers.process(wait_for(lambda: workers.find("too slow")).read_text())
        answer = running.result()
    assert 2 <= answer.seconds < 10
    assert answer.payload["errorType"] == "Sandbox.Timedout"
    assert answer.payload["errorMessage"].endswith("Error: Task timed out after 2.00 seconds")
    assert "Status: timeout" in answer.log
    assert not Path(f"/proc/{pid}").exists()
    assert function.invoke().error is None


def test_the_memory_limit_is_kept(make: Callable[..., Function]) -> None:
    answer = make(MemorySize=128).invoke({"allocate": 400})
    assert answer.payload["errorType"] == "Runtime.ExitError"
    assert answer.seconds < 20


def test_an_answer_that_is_too_large_is_an_error_and_the_next_is_well(make: Callable[..., Function]) -> None:
    function = make()
    assert function.invoke({"answer": 7_000_000}).payload["errorType"] == "Function.ResponseSizeTooLarge"
    assert function.invoke().error is None


def test_a_large_answer_comes_back_whole(make: Callable[..., Function]) -> None:
    assert len(make().invoke({"answer": 6_000_000}).payload) == 6_000_000


@pytest.mark.parametrize(
    ("files", "error_type", "message"),
    [
        ({"handler.py": "import absent"}, "Runtime.ImportModuleError", "No module named 'absent'"),
        ({"handler.py": "def handle(:"}, "Runtime.UserCodeSyntaxError", "Syntax error in module 'handler'"),
        ({"handler.py": "x = 1"}, "Runtime.HandlerNotFound", "Handler 'handle' missing"),
        ({"handler.py": "raise RuntimeError('no table')"}, "RuntimeError", "no table"),
        ({"handler.py": "import os; os._exit(7)"}, "Runtime.ExitError", "exit status 7"),
    ],
)
def test_a_function_that_cannot_start_says_why(
    make: Callable[..., Function], files: dict[str, str], error_type: str, message: str
) -> None:
    answer = make(files).invoke()
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == error_type
    assert message in answer.payload["errorMessage"]
    assert f"Error Type: {error_type}" in answer.log


def test_a_placeholder_says_what_to_do(make: Callable[..., Function]) -> None:
    answer = make(image={"Labels": {"transaction-pipeline.placeholder": "true"}}).invoke()
    assert answer.payload["errorType"] == "PlaceholderImage"
    assert "run `up`" in answer.payload["errorMessage"]


@pytest.mark.parametrize(
    ("image", "error_type", "message"),
    [
        ({"architecture": "riscv64"}, "Runtime.InvalidArchitecture", "made for riscv64"),
        ({"Entrypoint": ["/lambda-entrypoint.sh"]}, "Runtime.InvalidEntrypoint", "--runtime docker"),
        ({"Entrypoint": [], "Cmd": []}, "Runtime.InvalidEntrypoint", "no entrypoint"),
        ({"Entrypoint": ["python3.8", "-m", "awslambdaric"]}, "Runtime.InvalidPython", "made for Python 3.8"),
        ({"WorkingDir": "/srv"}, "Runtime.InvalidWorkingDir", "/srv"),
        ({"lie": True}, "ImageUnavailable", "does not match the image's manifest and config"),
    ],
)
def test_an_image_that_cannot_run_here_says_so(
    make: Callable[..., Function], image: dict[str, Any], error_type: str, message: str
) -> None:
    answer = make(image=image).invoke()
    assert answer.payload["errorType"] == error_type
    assert message in answer.payload["errorMessage"]


def test_an_image_made_for_another_python_says_so(make: Callable[..., Function]) -> None:
    name = f"runtime_client.cpython-3{sys.version_info.minor + 1}-x86_64-linux-gnu.so"
    own = f"runtime_client.cpython-3{sys.version_info.minor}-x86_64-linux-gnu.so"
    function = make(handler() | {name: "", f".wh.{own}": ""})
    answer = function.invoke()
    assert answer.payload["errorType"] == "Runtime.InvalidPython"
    assert f"made for Python 3.{sys.version_info.minor + 1}" in answer.payload["errorMessage"]


def test_an_image_named_by_tag_is_refused(
    embedded_aws: EmbeddedAws, make: Callable[..., Function], registry: Registry
) -> None:
    uri, ecr = registry.push("tagged", handler()), embedded_aws.client("ecr")
    [image] = ecr.batch_get_image(repositoryName="tagged", imageIds=[{"imageDigest": uri.partition("@")[2]}])["images"]
    ecr.put_image(
        repositoryName="tagged", imageManifest=image["imageManifest"], imageTag="latest",
        imageManifestMediaType=image["imageManifestMediaType"],
    )  # fmt: skip
    answer = make(uri=uri.partition("@")[0] + ":latest").invoke()
    assert "pinned as repository@sha256" in answer.payload["errorMessage"]


def test_an_image_that_was_unavailable_runs_once_it_is_there(make: Callable[..., Function], registry: Registry) -> None:
    uri = registry.push("late", handler(5))
    layer = registry.take_layer("late", uri.partition("@")[2])
    function = make(uri=uri)
    assert function.invoke().payload["errorType"] == "ImageUnavailable"
    registry.put_blob("late", layer)
    assert function.invoke().payload["version"] == 5


def test_a_function_is_pending_until_its_image_was_fetched(
    make: Callable[..., Function], registry: Registry, embedded_aws: EmbeddedAws
) -> None:
    # Enough to unpack for a while.
    large = tar({"handler.py": handler()["handler.py"].encode(), "data.bin": os.urandom(30 << 20)})
    client = embedded_aws.client("lambda")
    function = make(uri=registry.push_layers("large", [registry.client_layer, large]))
    states = []
    while (state := client.get_function_configuration(FunctionName=function.name)["State"]) == "Pending":
        states.append(state)
        time.sleep(0.01)
    assert state == "Active"
    assert len(states) > 3
    assert list((embedded_aws.folder / "images").glob("*/rootfs/var/task/data.bin"))
    function.update(registry.push(function.name, handler(2)))
    client.get_waiter("function_updated_v2").wait(FunctionName=function.name, WaiterConfig={"Delay": 1})
    assert function.invoke().payload["version"] == 2


def test_a_function_whose_image_is_damaged_becomes_active_and_says_so_when_it_is_invoked(
    make: Callable[..., Function], embedded_aws: EmbeddedAws
) -> None:
    function = make(image={"lie": True})
    embedded_aws.client("lambda").get_waiter("function_active_v2").wait(
        FunctionName=function.name, WaiterConfig={"Delay": 1, "MaxAttempts": 10}
    )
    assert function.invoke().payload["errorType"] == "ImageUnavailable"


def test_twenty_invocations_run_at_once(make: Callable[..., Function], workers: Workers) -> None:
    function = make(Timeout=60)
    with ThreadPoolExecutor(20) as threads:
        running = [threads.submit(function.invoke, {"write": "busy", "until": "go on"}) for _ in range(20)]

        def busy() -> dict[str, Path]:
            found = [each / "busy" for each in workers.temporary_folders().values()]
            return {each.read_text(): each.parent for each in found if each.exists()}

        for place in wait_for(lambda: found if len(found := busy()) == 20 else None, 50).values():
            (place / "go on").touch()
        answers = [each.result() for each in running]
    assert [answer.error for answer in answers] == [None] * 20
    assert len({answer.payload["worker"] for answer in answers}) == 20


def test_workers_are_reused(make: Callable[..., Function]) -> None:
    function = make()
    assert len({function.invoke().payload["worker"] for _ in range(10)}) == 1


def test_a_new_image_takes_over_without_losing_an_invocation(
    make: Callable[..., Function], registry: Registry, workers: Workers
) -> None:
    function = make(Timeout=60)
    new = registry.push(function.name, handler(2))
    with ThreadPoolExecutor() as threads:
        in_flight = threads.submit(function.invoke, {"until": "go on", "write": "running"})
        running = wait_for(lambda: workers.find("running"))
        old = workers.process(running.read_text())
        function.update(new)
        assert function.invoke().payload["version"] == 2
        assert not in_flight.done()
        (running.parent / "go on").touch()
        answer = in_flight.result()
        assert answer.error is None, answer
        assert answer.payload["version"] == 1
    wait_for(lambda: not Path(f"/proc/{old}").exists())
    assert function.invoke().payload["version"] == 2


def test_no_stale_image_runs_after_an_update(make: Callable[..., Function], registry: Registry) -> None:
    function = make()
    for version in range(2, 8):
        function.update(registry.push(function.name, handler(version)))
        assert function.invoke().payload["version"] == version


def test_a_change_of_the_same_size_and_time_is_seen(make: Callable[..., Function], registry: Registry) -> None:
    # Layers give every file the same time, which is all that Python's byte code would go by.
    function = make(handler(1) | {"rules.py": "LIMIT = 1\n"})
    code = HANDLER.replace("VERSION", "rules.LIMIT").replace("import os", "import rules, os")
    for limit in (1, 2, 1):
        function.update(registry.push(function.name, {"handler.py": code, "rules.py": f"LIMIT = {limit}\n"}))
        assert function.invoke().payload["version"] == limit


def test_a_changed_setting_gets_new_workers(make: Callable[..., Function], embedded_aws: EmbeddedAws) -> None:
    function = make()
    function.invoke()
    embedded_aws.client("lambda").update_function_configuration(
        FunctionName=function.name, Environment={"Variables": {"LEVEL": "debug"}}
    )
    assert function.invoke().payload["environment"]["LEVEL"] == "debug"


def test_a_worker_starts_before_the_first_invocation(
    make: Callable[..., Function], registry: Registry, workers: Workers
) -> None:
    function = make(handler(901))
    wait_for(lambda: workers.of_version(901))
    function.update(registry.push(function.name, handler(902)))
    started = wait_for(lambda: workers.of_version(902))
    assert started == {f"worker-{function.invoke().payload['worker']}"}
    assert len(workers.of_version(902)) == 1


def test_workers_of_a_deleted_function_end(
    make: Callable[..., Function], embedded_aws: EmbeddedAws, workers: Workers
) -> None:
    function = make()
    pid = workers.process(function.invoke().payload["worker"])
    embedded_aws.client("lambda").delete_function(FunctionName=function.name)
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_workers_write_nothing_into_their_image(make: Callable[..., Function], embedded_aws: EmbeddedAws) -> None:
    name = "only_in_this_image"
    function = make(handler() | {f"{name}.py": "x = 1"})
    (module,) = wait_for(lambda: list((embedded_aws.folder / "images").glob(f"*/rootfs/var/task/{name}.py")))
    before = {path: path.stat().st_mtime_ns for path in module.parent.rglob("*")}
    function.invoke({"exit": 1})
    function.invoke()
    assert {path: path.stat().st_mtime_ns for path in module.parent.rglob("*")} == before


def sdk() -> bytes:
    """A layer with boto3 and as much of botocore's data as the test's calls need."""
    site, files = Path(boto3.__file__).parents[1], {}
    for name in ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3"):
        for path in (site / name).rglob("*"):
            place = path.relative_to(site)
            if path.is_file() and "__pycache__" not in place.parts and (
                "data" not in place.parts or len(place.parts) == 3 or place.parts[2] in ("dynamodb", "sqs")
            ):  # fmt: skip
                files[str(place)] = path.read_bytes()
    return tar(files | {"six.py": (site / "six.py").read_bytes()})


def test_a_function_may_do_what_its_role_says_and_nothing_else(
    make: Callable[..., Function], embedded_aws: EmbeddedAws, registry: Registry
) -> None:
    allowed = {"Effect": "Allow", "Action": "dynamodb:ListTables", "Resource": "*"}
    code = b"""
import boto3

def handle(event, context):
    print(boto3.client("dynamodb").list_tables()["TableNames"])
    boto3.client("sqs").list_queues()
"""
    uri = registry.push_layers("with-sdk", [registry.client_layer, sdk(), tar({"handler.py": code})])
    answer = make(uri=uri, role=make_role(embedded_aws, "lister", allowed), Timeout=30, MemorySize=512).invoke()
    assert answer.payload["errorType"] == "ClientError"
    assert "AccessDenied" in answer.payload["errorMessage"]
    assert "ListQueues" in answer.payload["errorMessage"]


def test_a_step_function_sees_the_name_of_the_error(make: Callable[..., Function], embedded_aws: EmbeddedAws) -> None:
    function = make()
    machine = _machine(embedded_aws, "names", function.name)
    for event, error in (({"raise": "x"}, "ValueError"), ({"exit": 1}, "Runtime.ExitError")):
        output = _run(embedded_aws, machine, event)
        assert output["Error"] == error


def _machine(aws: EmbeddedAws, name: str, function: str) -> str:
    invoke = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "*"}
    definition = {
        "QueryLanguage": "JSONata",
        "StartAt": "Call",
        "States": {
            "Call": {
                "Type": "Task",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Arguments": {"FunctionName": function, "Payload": "{% $states.input %}"},
                "Output": "{% $states.result.Payload %}",
                "Catch": [{"ErrorEquals": ["States.ALL"], "Output": "{% $states.errorOutput %}", "Next": "Failed"}],
                "End": True,
            },
            "Failed": {"Type": "Pass", "End": True},
        },
    }
    made = aws.client("stepfunctions").create_state_machine(
        name=name, type="EXPRESS", definition=json.dumps(definition),
        roleArn=make_role(aws, f"machine-{name}", invoke, service="states.amazonaws.com"),
    )  # fmt: skip
    return str(made["stateMachineArn"])


def _run(aws: EmbeddedAws, machine: str, event: Any) -> Any:
    answer = aws.client("stepfunctions").start_sync_execution(stateMachineArn=machine, input=json.dumps(event))
    return json.loads(answer["output"])


def test_invoking_what_is_not_there_is_the_services_own_error(embedded_aws: EmbeddedAws) -> None:
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        embedded_aws.client("lambda").invoke(FunctionName="absent")


def test_a_warm_invocation_costs_a_few_milliseconds(make: Callable[..., Function], embedded_aws: EmbeddedAws) -> None:
    function, client = make({"handler.py": "def handle(event, context): return 1"}), embedded_aws.client("lambda")
    function.invoke()
    taken = []
    for _ in range(100):
        started = time.perf_counter()
        client.invoke(FunctionName=function.name, Payload=b"{}")["Payload"].read()
        taken.append(time.perf_counter() - started)
    assert statistics.median(taken) < 0.1
