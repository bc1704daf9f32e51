"""Compare deployed functions with their template by calls to Lambda, and put them back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core import interruption
from pipeline.core.aws_answers import error_code, image_uri
from pipeline.core.errors import FunctionError, NextStep
from pipeline.drift.drifted import Drifted
from pipeline.drift.expected_functions import (
    ALIAS,
    FUNCTION,
    LAMBDA_DEFAULTS,
    ExpectedFunction,
    compare_function,
    compare_version,
    expected_functions,
)
from pipeline.stacks import StackState

# Seconds that Lambda may take for an update of a configuration.
_PATIENCE = 60
# Every release puts these back (``pipeline.release.verify``).
PUT_BACK = ("Code.ImageUri", "RoutingConfig.AdditionalVersionWeights")
# What UpdateFunctionConfiguration changes, of what is compared.
_REVERTED = (*LAMBDA_DEFAULTS, "LoggingConfig")


@dataclass(frozen=True, slots=True)
class FunctionDrift:
    """A function with its drift, and that of its alias; () for none."""

    expected: ExpectedFunction
    drifted: tuple[Drifted, ...]


def deployed_functions(state: StackState) -> tuple[ExpectedFunction, ...]:
    """The functions of a stack; () while an operation is in progress, in which they change anyway."""
    return expected_functions(state.template, state.parameters, state.stack_id) if state.template else ()


def read_drift(lambda_client: Any, functions: tuple[ExpectedFunction, ...]) -> tuple[FunctionDrift, ...]:
    """Compare each function, and the version behind its alias, with what is expected. Three calls for each."""
    if not functions:
        return ()
    with ThreadPoolExecutor(8, thread_name_prefix="drift") as pool:
        return tuple(pool.map(lambda each: _read(lambda_client, each), functions))


def drift_of(found: tuple[FunctionDrift, ...]) -> tuple[Drifted, ...]:
    return tuple(drifted for each in found for drifted in each.drifted)


def _read(lambda_client: Any, expected: ExpectedFunction) -> FunctionDrift:
    latest = _or_none(lambda: lambda_client.get_function(FunctionName=expected.name))
    if latest is None:
        return FunctionDrift(expected, (Drifted(expected.logical_id, FUNCTION, expected.name, deleted=True),))
    configuration = latest["Configuration"]
    reserved = latest.get("Concurrency", {}).get("ReservedConcurrentExecutions")
    found = []
    if differences := compare_function(expected, configuration, image_uri(latest), reserved):
        found.append(Drifted(expected.logical_id, FUNCTION, expected.name, differences))
    found += _read_alias(lambda_client, expected)
    return FunctionDrift(expected, tuple(found))


def _read_alias(lambda_client: Any, expected: ExpectedFunction) -> Iterator[Drifted]:
    if expected.alias is None:
        return
    logical_id, name = expected.alias
    place = f"{expected.name}:{name}"
    alias = _or_none(lambda: lambda_client.get_alias(FunctionName=expected.name, Name=name))
    version = alias and _or_none(lambda: lambda_client.get_function(FunctionName=expected.name, Qualifier=name))
    if alias is None or version is None:
        yield Drifted(logical_id, ALIAS, place, deleted=True)
        return
    weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    if differences := compare_version(expected, version["Configuration"], image_uri(version), weights):
        yield Drifted(logical_id, ALIAS, place, differences)


def revert_functions(
    lambda_client: Any, found: tuple[FunctionDrift, ...], versions: Callable[[str], str | None]
) -> None:
    """Put drifted functions and aliases back, as far as Lambda can change them.

    versions  gives the physical id of a version's logical id: the ARN that ends in its number; None if there is none

    Images are not: ``pipeline.release.verify`` does that. Raises FunctionError for one that was deleted.
    """
    for each in found:
        for drifted in each.drifted:
            if drifted.deleted:
                raise FunctionError(
                    f"{drifted.name} was not put back",
                    "it was deleted outside of its stack",
                    NextStep("Delete the stacks without the data, then deploy again", ("down", "--keep-data"), ("up",)),
                )
            if drifted.resource_type == FUNCTION:
                _revert_function(lambda_client, each.expected, {one.path for one in drifted.differences})
            else:
                _revert_alias(lambda_client, each.expected, versions)


def _revert_function(lambda_client: Any, expected: ExpectedFunction, paths: set[str]) -> None:
    name = expected.name
    tops = {path.split(".")[0] for path in paths}
    wanted = {**LAMBDA_DEFAULTS, **expected.properties}
    actual = lambda_client.get_function_configuration(FunctionName=name)
    request = {key: _known(wanted[key], actual.get(key)) for key in _REVERTED if key in tops}
    if "Environment" in tops:
        variables = actual.get("Environment", {}).get("Variables", {})
        request["Environment"] = {"Variables": dict(_variables(expected, variables))}
    if request:
        lambda_client.update_function_configuration(FunctionName=name, **request)
        _await_update(lambda_client, name)
    if "ReservedConcurrentExecutions" in tops:
        if expected.reserved is None:
            lambda_client.delete_function_concurrency(FunctionName=name)
        else:
            lambda_client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=expected.reserved)


def _known(wanted: Any, actual: Any) -> Any:
    """A property as its template has it; parts that only a deployment knows are those that the function has."""
    if not isinstance(wanted, dict):
        return wanted
    kept = actual if isinstance(actual, dict) else {}
    known = {key: value for key, value in wanted.items() if not isinstance(value, dict)}
    return {**{key: kept[key] for key in wanted if key in kept}, **known}


def _variables(expected: ExpectedFunction, actual: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables that the template has; values that only a deployment knows are those that the function has."""
    for name, value in expected.variables.items():
        if not isinstance(value, dict):
            yield name, str(value)
        elif name in actual:
            yield name, actual[name]


def _revert_alias(lambda_client: Any, expected: ExpectedFunction, versions: Callable[[str], str | None]) -> None:
    assert expected.alias is not None  # noqa: S101  (it has drifted)
    made = versions(expected.version) if expected.version is not None else None
    number = made.rpartition(":")[2] if made else None
    if number is None or not _or_none(lambda: lambda_client.get_function(FunctionName=expected.name, Qualifier=number)):
        number = lambda_client.publish_version(FunctionName=expected.name)["Version"]
    lambda_client.update_alias(
        FunctionName=expected.name,
        Name=expected.alias[1],
        FunctionVersion=number,
        RoutingConfig={"AdditionalVersionWeights": {}},
    )


def _await_update(lambda_client: Any, name: str) -> None:
    """Wait until Lambda has made an update (API_UpdateFunctionConfiguration). Raises FunctionError."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        status = lambda_client.get_function_configuration(FunctionName=name).get("LastUpdateStatus", "Successful")
        if status == "Successful":
            return
        if status == "Failed" or time.monotonic() > deadline:
            raise FunctionError(
                f"{name} was not put back",
                f"the update of its configuration is {status} after at most {_PATIENCE} s",
                NextStep("Look at the function, then run it again", ("status",), ("up", "--revert-drift")),
            )
        interruption.sleep(0.2)


def _or_none(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ClientError as problem:
        if error_code(problem) != "ResourceNotFoundException":
            raise
        return None
