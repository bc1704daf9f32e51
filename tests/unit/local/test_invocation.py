"""A function's description becomes one value, in which everything counts that decides what runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.local.emulator.bridge_client import describe_function
from pipeline.local.invocation import FunctionConfig, Outcome, Status
from pipeline.oci.values import Digest

IMAGE = f"000000000000.dkr.ecr.us-east-1.amazonaws.com/name-dev@{Digest.of(b'')}"
RECORD: dict[str, Any] = {
    "FunctionName": "name-dev",
    "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:name-dev",
    "Version": "$LATEST",
    "ImageUri": IMAGE,
    "MemorySize": 512,
    "Timeout": 7,
    "LoggingConfig": {"LogGroup": "name-dev"},
    "Environment": {"Variables": {"B": "2", "A": "1"}},
    "ImageConfigResponse": {"ImageConfig": {"Command": ["app.run"]}},
}


def parse(**changes: Any) -> FunctionConfig:
    return FunctionConfig.parse(json.loads(describe_function(RECORD | changes, {"AWS_ACCESS_KEY_ID": "ASIA"})))


def test_a_description_is_parsed_once() -> None:
    function = parse()
    assert function.image.digest == Digest.of(b"")
    assert (function.memory, function.timeout, function.region) == (512, 7, "us-east-1")
    assert function.environment == (("A", "1"), ("B", "2"))
    assert function.command == ("app.run",)
    assert function.entry_point is None
    assert function.credentials == (("AWS_ACCESS_KEY_ID", "ASIA"),)


def test_an_alias_in_the_arn_is_the_same_function() -> None:
    assert parse(FunctionArn=RECORD["FunctionArn"] + ":live") == parse()


@pytest.mark.parametrize(
    "change",
    [
        {"ImageUri": IMAGE.replace("name-dev@", "other@")},
        {"MemorySize": 1024},
        {"Timeout": 8},
        {"Version": "3"},
        {"Environment": {"Variables": {"A": "1"}}},
        {"ImageConfigResponse": None},
    ],
)
def test_any_difference_asks_for_new_workers(change: dict[str, Any]) -> None:
    assert parse(**change) != parse()


def test_defaults_are_lambdas() -> None:
    function = parse(MemorySize=None, Timeout=None, LoggingConfig=None, Environment=None)
    assert (function.memory, function.timeout, function.log_group) == (128, 3, "/aws/lambda/name-dev")


@pytest.mark.parametrize("uri", ["registry.example/name:latest", "name", "registry.example/name@sha256:12"])
def test_an_image_that_is_not_pinned_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"sha256|hexadecimal"):
        parse(ImageUri=uri)


def test_an_error_has_lambdas_shape() -> None:
    outcome = Outcome.error("Runtime.ExitError", 'a "quoted" word')
    assert outcome.status is Status.ERROR
    assert outcome.payload == b'{"errorType": "Runtime.ExitError", "errorMessage": "a \\"quoted\\" word"}'
