"""Invoke one function once: its result, log and measurements."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from pipeline.core.aws_answers import error_code, image_uri
from pipeline.core.errors import FunctionError, NextStep

if TYPE_CHECKING:
    from pipeline.target import Target

# Lambda's longest timeout (Lambda quotas) and some more for the response, in seconds.
LONGEST = 900 + 30.0
_TIMES = {
    "duration": re.compile(r"\tDuration: ([\d.]+) ms"),
    "init": re.compile(r"\tInit Duration: ([\d.]+) ms"),
    "billed": re.compile(r"\tBilled Duration: ([\d.]+) ms"),
    "memory": re.compile(r"\tMax Memory Used: (\d+) MB"),
}
_METRICS = {
    "duration": "durationMs",
    "init": "initDurationMs",
    "billed": "billedDurationMs",
    "memory": "maxMemoryUsedMB",
}


@dataclass(frozen=True, slots=True)
class Invoked:
    """The result of an invocation.

    result    the response as JSON; after a failure Lambda's error document
    failed    the function raised, exited or timed out
    log       the last 4 KB of its log (API_Invoke, LogType)
    seconds   from the request to the response
    measured  duration, init, billed (ms) and memory (MB), as far as Lambda reports them; init only for a cold start
    """

    function: str
    result: Any
    failed: bool
    log: tuple[str, ...]
    seconds: float
    measured: Mapping[str, float]

    @property
    def error(self) -> str:
        """The failure in one line, or ""."""
        if not self.failed:
            return ""
        if not isinstance(self.result, dict):
            return str(self.result)
        kind, message = self.result.get("errorType", "error"), self.result.get("errorMessage", "")
        return f"{kind}: {message}" if message else str(kind)

    def to_json(self) -> dict[str, Any]:
        return {
            "function": self.function,
            "failed": self.failed,
            "result": self.result,
            "log": list(self.log),
            "seconds": round(self.seconds, 3),
            "measured": dict(self.measured),
        }


def invoke_function(target: Target, name: str, event: bytes, *, qualifier: str) -> Invoked:
    """Invoke the function called ``name`` once, without a timeout of its own and without retries.

    qualifier  an alias, such as the one that the workflow calls
    Raises FunctionError if the function or alias does not exist.
    """
    client = target.once(LONGEST).client("lambda")
    started = time.monotonic()
    try:
        answer = client.invoke(FunctionName=name, Qualifier=qualifier, Payload=event, LogType="Tail")
        payload = answer["Payload"].read()
    except ClientError as problem:
        if error_code(problem) != "ResourceNotFoundException":
            raise
        raise _absent(name, qualifier) from problem
    seconds = time.monotonic() - started
    log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace").splitlines()
    return Invoked(name, read_payload(payload), "FunctionError" in answer, tuple(log), seconds, read_report(log))


def describe_function(target: Target, name: str, *, qualifier: str) -> dict[str, Any]:
    """The function's configuration with a session of its role, for ``FunctionConfig.parse``.

    Only for the embedded AWS, where the root may assume any role. Raises FunctionError.
    """
    try:
        found = target.client("lambda").get_function(FunctionName=name, Qualifier=qualifier)
    except ClientError as problem:
        if error_code(problem) != "ResourceNotFoundException":
            raise
        raise _absent(name, qualifier) from problem
    configuration = found["Configuration"]
    role = target.client("sts").assume_role(RoleArn=configuration["Role"], RoleSessionName=name[:64])["Credentials"]
    return {
        **{key: configuration.get(key) for key in ("FunctionName", "FunctionArn", "Version", "MemorySize", "Timeout")},
        "ImageUri": image_uri(found),
        "Environment": configuration.get("Environment", {}).get("Variables"),
        "ImageConfig": configuration.get("ImageConfigResponse", {}).get("ImageConfig"),
        "LogGroup": configuration.get("LoggingConfig", {}).get("LogGroup"),
        "Credentials": {
            "AWS_ACCESS_KEY_ID": role["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": role["SecretAccessKey"],
            "AWS_SESSION_TOKEN": role["SessionToken"],
        },
    }


def _absent(name: str, qualifier: str) -> FunctionError:
    return FunctionError(
        f"{name} was not invoked", f"there is no function {name} with the alias {qualifier}",
        NextStep("Deploy the pipeline stack, which creates it", ("up",)),
    )  # fmt: skip


def read_payload(payload: bytes) -> Any:
    """The payload as JSON, as text if it is not JSON, None if it is empty."""
    try:
        return json.loads(payload) if payload else None
    except ValueError:
        return payload.decode(errors="replace")


def read_report(log: list[str]) -> dict[str, float]:
    """Measurements from the platform's REPORT line, or from the platform.report event of a JSON log.

    A JSON log has that event only if the function's system log level includes it.
    """
    for line in reversed(log):
        if line.startswith("REPORT "):
            found = {name: pattern.search(line) for name, pattern in _TIMES.items()}
            return {name: float(match[1]) for name, match in found.items() if match}
        if '"platform.report"' in line:
            try:
                metrics = json.loads(line)["record"]["metrics"]
                return {name: float(metrics[key]) for name, key in _METRICS.items() if key in metrics}
            except (ValueError, KeyError, TypeError):
                continue
    return {}
