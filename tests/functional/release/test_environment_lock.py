"""Two people and CI lock each other out of one environment, through its account."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from pipeline.core import interruption
from pipeline.core.events import Event, Note
from pipeline.ledger.environment_lock import _Lock, lock_name, locked
from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project

NAME = lock_name("lock/dev")
HANDLER = "def handle(event, context):\n    return {!r}\n"


@pytest.fixture
def ssm(embedded_aws: EmbeddedAws) -> Iterator[Any]:
    client = embedded_aws.client("ssm")
    yield client
    with suppress(client.exceptions.ParameterNotFound):
        client.delete_parameter(Name=NAME)


def exists(ssm: Any) -> bool:
    return bool(ssm.get_parameters(Names=[NAME])["Parameters"])


def abandon(ssm: Any) -> None:
    """Leave the lock of a process of this machine that was killed."""
    script = (
        "import sys, boto3, json\nfrom pipeline.ledger.environment_lock import _Lock\n"
        "kwargs = json.loads(sys.argv[1])\nfrom botocore.config import Config\n"
        "_Lock(boto3.client('ssm', **kwargs), sys.argv[2], 'up by the killed', 120).acquire(lambda _: None)\n"
    )
    credentials = ssm._request_signer._credentials
    options = {
        "endpoint_url": ssm.meta.endpoint_url, "region_name": ssm.meta.region_name,
        "aws_access_key_id": credentials.access_key, "aws_secret_access_key": credentials.secret_key,
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", script, json.dumps(options), NAME], cwd=ROOT, check=True, timeout=60)


def test_it_is_held_by_one_at_a_time_and_leaves_nothing(ssm: Any) -> None:
    inside, most, done = 0, 0, []

    def work(number: int) -> None:
        nonlocal inside, most
        with locked(ssm, "lock/dev", f"up by {number}"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1
            done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert (most, sorted(done)) == (1, [0, 1, 2, 3, 4])
    assert not exists(ssm)


def test_a_run_that_stops_waiting_leaves_the_lock_of_the_other(ssm: Any) -> None:
    def stop(_event: Event) -> None:
        raise KeyboardInterrupt

    with locked(ssm, "lock/dev", "up"):
        with pytest.raises(KeyboardInterrupt), locked(ssm, "lock/dev", "up by you", stop):
            pass
        assert exists(ssm)
    assert not exists(ssm)


def test_a_waiting_run_names_the_holder(ssm: Any) -> None:
    notes: list[str] = []
    with ExitStack() as held:
        held.enter_context(locked(ssm, "lock/dev", "up by arn:{{x}}/me"))

        def report(event: Event) -> None:
            if isinstance(event, Note):
                notes.append(event.text)
                held.close()

        with locked(ssm, "lock/dev", "up by you", report):
            assert exists(ssm)
    assert notes == ["up by arn:{{x}}/me is at work on the same environment; waiting until it is done"]


def test_the_lock_of_a_killed_process_is_taken_over_at_once_by_one(ssm: Any) -> None:
    abandon(ssm)
    held = _Lock(ssm, NAME, "another", 120)._read()
    assert held is not None
    assert held.is_abandoned
    first, second = (_Lock(ssm, NAME, name, 120) for name in ("first", "second"))
    assert first._take_over(held)
    assert not second._take_over(held)

    ssm.delete_parameter(Name=NAME)
    abandon(ssm)
    notes: list[Event] = []
    with locked(ssm, "lock/dev", "up", notes.append):
        pass
    (note,) = notes
    assert isinstance(note, Note)
    assert note.text == "took over the lock of up by the killed: its process is gone"


def test_the_lock_of_another_machine_is_taken_over_after_its_lease(ssm: Any) -> None:
    ssm.put_parameter(Name=NAME, Value="not ours", Type="String")
    started = time.monotonic()
    with locked(ssm, "lock/dev", "up", lease=1.0, renewal=0.2):
        assert time.monotonic() - started >= 0.9


def test_a_new_parameter_of_the_same_version_is_not_taken_over(ssm: Any) -> None:
    ssm.put_parameter(Name=NAME, Value="killed", Type="String")
    taker = _Lock(ssm, NAME, "taker", 1.0)
    held = taker._read()
    assert held is not None
    ssm.delete_parameter(Name=NAME)
    ssm.put_parameter(Name=NAME, Value="a live run", Type="String")
    assert not taker._take_over(held)


def test_a_renewed_lock_outlives_its_lease(ssm: Any) -> None:
    with locked(ssm, "lock/dev", "up", lease=1.0, renewal=0.1):
        time.sleep(2.2)
        held = _Lock(ssm, NAME, "another", 1.0)._read()
        assert held is not None
        assert held.age < 1.0


def test_a_lock_that_was_not_renewed_in_time_ends_the_work_and_is_left(ssm: Any) -> None:
    lock = _Lock(ssm, NAME, "up", 120)
    lock.acquire(lambda _event: None)
    lock._renewed -= 110
    notes: list[Event] = []
    try:
        lock.keep(threading.Event(), 0.01, notes.append)
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
    finally:
        interruption.forget()
    assert "was lost" in str(notes)
    lock.release()
    assert exists(ssm)


def begun(project: Project, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "bootstrap.py"), *arguments],
        cwd=project.folder, env=project.variables, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_two_state_folders_on_one_aws_release_one_after_the_other(
    embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory
) -> None:
    projects = [Project(tmp_path_factory.mktemp(name), embedded_aws) for name in ("mine", "yours")]
    for number, project in enumerate(projects):
        project.write("environments.toml", '[project]\nname = "lock"\n')
        project.write("images/hello/function.toml", 'handler = "handler.handle"\n')
        project.write("images/hello/handler.py", HANDLER.format(number))
    mine, yours = projects
    ssm = embedded_aws.client("ssm")
    try:
        with ExitStack() as ended:
            with locked(ssm, "lock/dev", "up by a colleague"):
                runs = [ended.enter_context(begun(project, "up")) for project in projects]
                for run in runs:
                    assert run.stderr is not None
                    assert any("up by a colleague is at work on the same environment" in line for line in run.stderr)
            assert [run.communicate(timeout=200) and run.returncode for run in runs] == [0, 0]
        releases = mine.json("releases")["releases"]
        assert [each["number"] for each in releases] == [2, 1]
        # The stack is what the last record says.
        (running,) = [each["digest"] for each in mine.json("status")["functions"]]
        assert releases[0]["functions"] == [{"name": "hello", "digest": running}]
        assert yours.invoke("hello", {}) in (0, 1)
    finally:
        mine.run("down", code=(0, 1))
    assert not exists(ssm)
