"""The functions that a deployed template describes, and how they differ from what Lambda has. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.drift.drifted import Difference
from pipeline.oci.values import ImageReference
from pipeline.stacks.properties import Values, is_call

FUNCTION, ALIAS = "AWS::Lambda::Function", "AWS::Lambda::Alias"
# The defaults of Lambda for what a template leaves out (API_CreateFunction).
LAMBDA_DEFAULTS: Mapping[str, Any] = {
    "MemorySize": 128,
    "Timeout": 3,
    "Description": "",
    "EphemeralStorage": {"Size": 512},
    "TracingConfig": {"Mode": "PassThrough"},
}
# Compared if the template has them.
_OPTIONAL = ("Architectures", "LoggingConfig", "VpcConfig")


@dataclass(frozen=True, slots=True)
class ExpectedFunction:
    """An image function as its template has it; values that only a deployment knows stay as written.

    alias    the logical id and name of its alias; None without one
    version  the logical id of the version that the alias refers to
    """

    logical_id: str
    name: str
    properties: Mapping[str, Any]
    alias: tuple[str, str] | None = None
    version: str | None = None

    @property
    def variables(self) -> Mapping[str, Any]:
        found = self.properties.get("Environment", {})
        return found.get("Variables", {}) if isinstance(found, dict) and not is_call(found) else {}

    @property
    def reserved(self) -> int | None:
        """The reserved executions; None for none."""
        value = self.properties.get("ReservedConcurrentExecutions")
        return None if value is None or isinstance(value, dict) else int(value)


def expected_functions(
    template_body: str, parameters: Mapping[str, str], stack_id: str
) -> tuple[ExpectedFunction, ...]:
    """The image functions with a name of their own that a template makes with these parameters."""
    values = Values.of(template_body, parameters, stack_id)
    resources: Mapping[str, Any] = values.template.get("Resources", {})
    aliases = {}
    for logical_id, resource in resources.items():
        match resource:
            case {
                "Type": "AWS::Lambda::Alias",
                "Properties": {"FunctionName": {"Ref": str() as function}, "Name": str() as name, **rest},
            } if values.exists(logical_id):
                version = rest.get("FunctionVersion")
                makes = version["Fn::GetAtt"][0] if isinstance(version, dict) and "Fn::GetAtt" in version else None
                aliases[function] = ((logical_id, name), makes)
    found = []
    for logical_id, resource in resources.items():
        if resource.get("Type") != FUNCTION or not values.exists(logical_id):
            continue
        properties = {name: values.property(logical_id, name) for name in resource.get("Properties", {})}
        properties = {name: value for name, value in properties.items() if value is not None}
        own, code = properties.get("FunctionName"), properties.get("Code")
        if isinstance(own, str) and isinstance(code, dict) and "ImageUri" in code:
            found.append(ExpectedFunction(logical_id, own, properties, *aliases.get(logical_id, (None, None))))
    return tuple(found)


def compare_function(
    expected: ExpectedFunction, configuration: Mapping[str, Any], image: str, reserved: int | None
) -> tuple[Difference, ...]:
    """How an unpublished function differs.

    configuration  Lambda's FunctionConfiguration
    image          the URI that its code was resolved to
    reserved       its reserved executions; None for none
    """
    found = [*_configuration(expected, configuration, image, described=True)]
    wanted = expected.properties.get("ReservedConcurrentExecutions")
    if not _unknown(wanted) and expected.reserved != reserved:
        found.append(Difference.of("ReservedConcurrentExecutions", _text(expected.reserved), _text(reserved)))
    return tuple(found)


def compare_version(
    expected: ExpectedFunction, configuration: Mapping[str, Any], image: str, weights: Mapping[str, float]
) -> tuple[Difference, ...]:
    """How the version behind the alias differs; ``weights`` of other versions that share its traffic."""
    found = [*_configuration(expected, configuration, image, described=False)]
    if weights:
        shared = ", ".join(f"version {name} {weight:.0%}" for name, weight in sorted(weights.items()))
        found.append(Difference("RoutingConfig.AdditionalVersionWeights", None, shared))
    return tuple(found)


def _configuration(
    expected: ExpectedFunction, configuration: Mapping[str, Any], image: str, *, described: bool
) -> Iterator[Difference]:
    """described: whether the description is the function's; a version has its own."""
    wanted = {**LAMBDA_DEFAULTS, **expected.properties}
    for name in (*LAMBDA_DEFAULTS, *_OPTIONAL):
        if name in wanted and (described or name != "Description"):
            yield from _differences(name, wanted[name], configuration.get(name, LAMBDA_DEFAULTS.get(name)))
    if (uri := wanted["Code"]["ImageUri"]) and isinstance(uri, str) and _digest(uri) != _digest(image):
        yield Difference("Code.ImageUri", uri, image or None)
    if "Error" in configuration.get("Environment", {}):
        return  # Lambda could not decrypt the variables (API_EnvironmentResponse)
    actual = configuration.get("Environment", {}).get("Variables", {})
    for name in sorted({*expected.variables, *actual}):
        value = expected.variables.get(name)
        if name not in expected.variables or name not in actual or (not _unknown(value) and str(value) != actual[name]):
            yield Difference.of(f"Environment.Variables.{name}", _text(value), actual.get(name))


def _differences(path: str, expected: Any, actual: Any) -> Iterator[Difference]:
    """The innermost differences, as far as the template says what it expects."""
    if _unknown(expected):
        return
    if isinstance(expected, dict):
        for key, value in expected.items():
            yield from _differences(f"{path}.{key}", value, actual.get(key) if isinstance(actual, dict) else None)
    elif isinstance(expected, list):
        found = actual if isinstance(actual, list) else []
        if not any(map(_unknown, expected)) and sorted(map(str, expected)) != sorted(map(str, found)):
            yield Difference.of(path, ", ".join(map(str, expected)), ", ".join(map(str, found)) or None)
    elif _text(expected) != _text(actual):
        yield Difference.of(path, _text(expected), _text(actual))


def _unknown(value: Any) -> bool:
    return isinstance(value, dict) and is_call(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _digest(uri: str) -> str:
    try:
        return str(ImageReference.parse(uri).digest)
    except ValueError:
        return uri
