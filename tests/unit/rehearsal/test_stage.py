"""Calls of a role that is new, and how the errors of a candidate are named."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline.rehearsal import stage as module
from pipeline.rehearsal.replay import TaskFailed
from pipeline.rehearsal.stage import TIMED, Stage


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Invoke")


class Lambda:
    """A client whose answers are given beforehand; the last one stays."""

    def __init__(self, *answers: Any) -> None:
        self.answers = [*answers]
        self.invoked: list[str] = []

    def client(self, service: str) -> Lambda:
        assert service == "lambda"
        return self

    def invoke(self, FunctionName: str, Payload: bytes, LogType: str) -> Any:
        self.invoked.append(FunctionName)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        response, more = answer if isinstance(answer, tuple) else (answer, {})
        return {"Payload": io.BytesIO(json.dumps(response).encode()), **more}


def stage(client: Lambda, *functions: str, age: float = 0.0) -> Stage:
    names = {name: name for name in functions or ("a",)}
    return Stage(client, names, opened=time.monotonic() - age)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.interruption, "sleep", lambda _: None)


def test_a_new_role_may_be_refused_at_first() -> None:
    client = Lambda(refusal("AccessDeniedException"), refusal("AccessDeniedException"), {"score": 1})
    assert stage(client).invoke("a", {}) == {"score": 1}


def test_a_role_that_is_not_new_is_refused_at_once() -> None:
    client = Lambda(refusal("AccessDeniedException"))
    with pytest.raises(ClientError):
        stage(client, age=90.0).invoke("a", {})
    assert len(client.invoked) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (({"errorType": "InvalidEvent", "errorMessage": "why"}, {"FunctionError": "Unhandled"}), "InvalidEvent"),
        (({"errorMessage": "Task timed out"}, {"FunctionError": "Unhandled"}), "Lambda.Unknown"),
        ((None, {"FunctionError": "Unhandled"}), "Lambda.Unknown"),
        (refusal("TooManyRequestsException"), "Lambda.TooManyRequestsException"),
    ],
)
def test_an_error_has_the_name_that_step_functions_gives_it(answer: Any, error: str) -> None:
    with pytest.raises(TaskFailed) as failed:
        stage(Lambda(answer)).invoke("a", {})
    assert failed.value.error == error


def test_the_running_image_is_timed_beside_the_candidate_and_its_answer_not_used() -> None:
    report = {"LogResult": "UkVQT1JUIFJlcXVlc3RJZDogMQlEdXJhdGlvbjogMi41MCBtcwk="}
    client = Lambda(({"running": True}, report), ({"score": 1}, report), ({"score": 2}, report))
    own = stage(client, "a", "running-a")
    assert own.invoke("a", {}) == {"score": 1}
    assert client.invoked == ["running-a", "a"]
    assert own.durations == {"a": [2.5], "running-a": [2.5]}
    own.durations["running-a"] = [1.0] * TIMED
    assert own.invoke("a", {}) == {"score": 2}
    assert client.invoked[2:] == ["a"]
