"""Lambda's refusals: functions, their images and their concurrency."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pipeline.local.emulator.strict import control_plane
from pipeline.local.emulator.strict.invocation_rate import InvocationRate
from pipeline.local.emulator.strict.refusal import Fields, Refusal

UNRESERVED_MIN = 100
MEMORY_MIN, MEMORY_MAX, MEMORY_MAX_FRESH = 128, 10_240, 3_008
TIMEOUT_MAX = 900
ENVIRONMENT_MAX = 4_096
TAGS_MAX = 50
EVENT_MAX = 6_291_456
_MANIFESTS = {
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
}
_CONFIGS = {
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.config.v1+json",
}
_LAYERS = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
}
# Lambda developer guide, Defined runtime environment variables: those that cannot be set.
_RESERVED = {
    "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
}  # fmt: skip
_URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[a-z0-9._/-]+)(?P<reference>@sha256:[0-9a-f]{64}|:[\w.-]+)"
)
_IMAGE = "D Lambda developer guide, Create a function using a container image"


def _image_uri(parameters: Mapping[str, Any]) -> str:
    """Of CreateFunction (in Code) or UpdateFunctionCode."""
    return str((parameters.get("Code") or {}).get("ImageUri") or parameters.get("ImageUri") or "")


def _foreign_image(parameters: Mapping[str, Any]) -> Fields:
    uri = _image_uri(parameters)
    match = _URI.fullmatch(uri)
    if not uri or (match is not None and match["region"] == control_plane.region()):
        return None
    return {"uri": uri}


def _absent_image(parameters: Mapping[str, Any]) -> Fields:
    match = _URI.fullmatch(_image_uri(parameters))
    if match is None or match["account"] != control_plane.account_id():
        return None
    found = control_plane.manifest(match["repository"], match["reference"].lstrip("@:"))
    return {"uri": match[0]} if found is None else None


def unfit(content: bytes, media_type: str) -> bool:
    """Whether Lambda does not support a manifest: its own media type, that of its config, or that of a layer."""
    try:
        manifest = json.loads(content)
        types = [manifest["config"]["mediaType"], *(layer["mediaType"] for layer in manifest["layers"])]
    except (ValueError, KeyError, TypeError):
        return True
    own = manifest.get("mediaType", media_type)
    return own not in _MANIFESTS or types[0] not in _CONFIGS or not set(types[1:]) <= _LAYERS


def _unfit_image(parameters: Mapping[str, Any]) -> Fields:
    match = _URI.fullmatch(_image_uri(parameters))
    found = match and control_plane.manifest(match["repository"], match["reference"].lstrip("@:"))
    return {"uri": match[0]} if match and found and unfit(*found) else None


def _settings_of_a_zip(parameters: Mapping[str, Any]) -> Fields:
    image = parameters.get("PackageType") == "Image"
    return {} if image and any(parameters.get(name) for name in ("Runtime", "Handler", "Layers")) else None


def memory_max() -> int:
    return MEMORY_MAX_FRESH if control_plane.fresh_account() else MEMORY_MAX


def _much_memory(parameters: Mapping[str, Any]) -> Fields:
    given = parameters.get("MemorySize")
    return {"limit": memory_max()} if given is not None and int(given) > memory_max() else None


def _little_memory(parameters: Mapping[str, Any]) -> Fields:
    given = parameters.get("MemorySize")
    return {"limit": MEMORY_MIN} if given is not None and int(given) < MEMORY_MIN else None


def _long_timeout(parameters: Mapping[str, Any]) -> Fields:
    given = parameters.get("Timeout")
    return {"given": given, "limit": TIMEOUT_MAX} if given is not None and int(given) > TIMEOUT_MAX else None


def _long_name(parameters: Mapping[str, Any]) -> Fields:
    name = str(parameters.get("FunctionName", "")).rpartition(":")[2]
    return {"name": name} if len(name) > 64 else None


def _variables(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    return (parameters.get("Environment") or {}).get("Variables") or {}


def _large_environment(parameters: Mapping[str, Any]) -> Fields:
    measured = json.dumps(_variables(parameters), separators=(",", ":"), ensure_ascii=False)
    return {"measured": measured} if len(measured.encode()) > ENVIRONMENT_MAX else None


def _reserved_variables(parameters: Mapping[str, Any]) -> Fields:
    names = sorted(_RESERVED & _variables(parameters).keys())
    return {"names": ", ".join(names)} if names else None


def _many_tags(parameters: Mapping[str, Any]) -> Fields:
    tags = parameters.get("Tags") or ()
    return {} if len(tags) > TAGS_MAX else None


def _concurrency(parameters: Mapping[str, Any]) -> Fields:
    wanted = parameters.get("ReservedConcurrentExecutions")
    if wanted is None:
        return None
    name = str(parameters.get("FunctionName", "")).rpartition(":")[2]
    others = sum(record.get("concurrency") or 0 for each, record in control_plane.functions() if each != name)
    total = control_plane.account_concurrency()
    minimum = min(UNRESERVED_MIN, total)
    return {"minimum": minimum} if int(wanted) and total - others - int(wanted) < minimum else None


def _large_event(parameters: Mapping[str, Any]) -> Fields:
    return {"limit": EVENT_MAX} if len(parameters.get("Payload") or b"") > EVENT_MAX else None


_RATE = InvocationRate()
# The call of the rows that count every synchronous invocation of an image function: through Invoke, or by a task.
INVOCATION = "Invoke, RequestResponse"


def _rate(parameters: Mapping[str, Any]) -> Fields:
    record = control_plane.function(str(parameters["FunctionName"]))
    reserved = (record or {}).get("concurrency")
    if not reserved:  # with a reservation of 0, ministack refuses
        return None
    return None if _RATE.take(str(parameters["FunctionName"]), int(reserved)) else {}


def _account_rate(parameters: Mapping[str, Any]) -> Fields:
    record = control_plane.function(str(parameters["FunctionName"]))
    if (record or {}).get("concurrency") is not None:
        return None
    reserved = sum(each.get("concurrency") or 0 for _, each in control_plane.functions())
    return None if _RATE.take("", control_plane.account_concurrency() - reserved) else {}


def _of_create_and_configuration(*row: Any) -> tuple[Refusal, Refusal]:
    return Refusal("lambda", "CreateFunction", *row), Refusal("lambda", "UpdateFunctionConfiguration", *row)


def _of_create_and_code(*row: Any) -> tuple[Refusal, Refusal]:
    return Refusal("lambda", "CreateFunction", *row), Refusal("lambda", "UpdateFunctionCode", *row)


_INVALID = "InvalidParameterValueException"
FUNCTION_REFUSALS = (
    Refusal(
        "lambda", "CreateFunction", "the name has more than 64 characters", _INVALID,
        "1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: Member must have"
        " length less than or equal to 64",
        "R test_lambda_api::test_function_arns", _long_name,
    ),
    *_of_create_and_code(
        "the image is not in a private ECR repository of this region", _INVALID,
        "Source image {uri} is not valid. Provide a valid source image.", _IMAGE, _foreign_image,
    ),
    *_of_create_and_code(
        "the repository has no such image", _INVALID,
        "Source image {uri} does not exist. Provide a valid source image.", _IMAGE, _absent_image,
    ),
    *_of_create_and_code(
        "an image index, or a manifest, config or layer of another media type", _INVALID,
        "The image manifest, config or layer media type for the source image {uri} is not supported.",
        _IMAGE, _unfit_image,
    ),
    Refusal(
        "lambda", "CreateFunction", "Runtime, Handler or Layers for an image", _INVALID,
        "Please don't provide Handler or Runtime or Layer when the intended function package type is Image.",
        "S AWS::Lambda::Function; 3P", _settings_of_a_zip,
    ),
    *_of_create_and_configuration(
        f"more than {MEMORY_MAX:,} MB of memory; on a fresh account more than {MEMORY_MAX_FRESH:,}", _INVALID,
        "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to {limit}",
        "D Lambda quotas; 3P", _much_memory,
    ),
    *_of_create_and_configuration(
        f"less than {MEMORY_MIN} MB of memory", _INVALID,
        "'MemorySize' value failed to satisfy constraint: Member must have value greater than or equal to {limit}",
        "D Lambda quotas; B", _little_memory,
    ),
    *_of_create_and_configuration(
        f"a timeout of more than {TIMEOUT_MAX} seconds", _INVALID,
        "1 validation error detected: Value '{given}' at 'timeout' failed to satisfy constraint: Member must have value"
        " less than or equal to {limit}",
        "D Lambda quotas; B", _long_timeout,
    ),
    *_of_create_and_configuration(
        "environment variables of more than 4 KB as JSON", _INVALID,
        "Lambda was unable to configure your environment variables because the environment variables you have provided"
        " exceeded the 4KB limit. String measured: {measured}",
        "R test_lambda_api::test_large_environment_variables_fails", _large_environment,
    ),
    *_of_create_and_configuration(
        "a reserved environment variable", _INVALID,
        "Lambda was unable to configure your environment variables because the environment variables you have provided"
        " contains reserved keys that are currently not supported for modification. Reserved keys used in this request:"
        " {names}",
        "D Lambda developer guide, Defined runtime environment variables; 3P", _reserved_variables,
    ),
    Refusal(
        "lambda", "CreateFunction", f"more than {TAGS_MAX} tags", _INVALID,
        "Number of tags exceeds resource tag limit.", "R test_lambda_api::test_tag_limits", _many_tags,
    ),
    Refusal(
        "lambda", "PutFunctionConcurrency",
        f"less than {UNRESERVED_MIN} executions of the account stay unreserved; on a fresh account less than all 10",
        _INVALID,
        "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below"
        " its minimum value of [{minimum}].",
        "R test_lambda_api::test_function_concurrency_limits", _concurrency,
    ),
    Refusal(
        "lambda", "Invoke", f"an event of more than {EVENT_MAX:,} bytes", "RequestEntityTooLargeException",
        "Request must be smaller than {limit} bytes for the InvokeFunction operation",
        "D Lambda quotas; R test_lambda_api::test_oversized_request_create_lambda, for CreateFunction", _large_event,
        413,
    ),
    Refusal(
        "lambda", INVOCATION, "more than 10 invocations a second for each reserved execution of the function",
        "TooManyRequestsException", "Rate Exceeded.",
        "D Lambda developer guide, Understanding Lambda function scaling; B ThrottleReason; R"
        " test_lambda::test_reserved_concurrency, for the text",
        _rate, 429, {"Reason": "ReservedFunctionInvocationRateLimitExceeded"},
    ),
    Refusal(
        "lambda", INVOCATION, "more than 10 invocations a second for each unreserved execution of the account",
        "TooManyRequestsException", "Rate Exceeded.",
        "D Lambda developer guide, Understanding Lambda function scaling; B ThrottleReason; R"
        " test_lambda::test_reserved_concurrency, for the text",
        _account_rate, 429, {"Reason": "FunctionInvocationRateLimitExceeded"},
    ),
)  # fmt: skip
