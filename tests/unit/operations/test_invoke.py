"""What the platform says of an invocation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.operations.invoke import Invoked, read_payload, read_report

REPORT = "REPORT RequestId: x\tDuration: 1.74 ms\tBilled Duration: 2 ms\tMemory Size: 3072 MB\tMax Memory Used: 23 MB"


def platform_report(**metrics: Any) -> str:
    return json.dumps({"time": "…", "type": "platform.report", "record": {"requestId": "x", "metrics": metrics}})


@pytest.mark.parametrize(
    ("log", "measured"),
    [
        ([REPORT], {"duration": 1.74, "billed": 2, "memory": 23}),
        ([REPORT + "\tInit Duration: 505.18 ms\t"], {"duration": 1.74, "billed": 2, "memory": 23, "init": 505.18}),
        ([platform_report(durationMs=3.5, initDurationMs=80.25, memorySizeMB=128)], {"duration": 3.5, "init": 80.25}),
        ([platform_report(durationMs=3.5), REPORT, "last line"], {"duration": 1.74, "billed": 2, "memory": 23}),
        (['{"type": "platform.report", "record": null}'], {}),
        (["what a handler printed about its REPORT Duration: 1 ms"], {}),
        ([], {}),
    ],
)
def test_times_are_read_from_either_form_of_report(log: list[str], measured: dict[str, float]) -> None:
    assert read_report(log) == measured


@pytest.mark.parametrize(("payload", "value"), [(b"", None), (b"null", None), (b'{"a": 1}', {"a": 1}), (b"{", "{")])
def test_payloads(payload: bytes, value: Any) -> None:
    assert read_payload(payload) == value


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"errorType": "E", "errorMessage": "m"}, "E: m"),
        ({"errorType": "E"}, "E"),
        ({"errorMessage": "2026 x Task timed out"}, "error: 2026 x Task timed out"),
        ("text", "text"),
    ],
)
def test_a_failure_in_one_line(result: Any, said: str) -> None:
    assert Invoked("f", result, True, (), 0.1, {}).error == said
    assert Invoked("f", result, False, (), 0.1, {}).error == ""
