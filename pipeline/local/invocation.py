"""The values exchanged by the embedded AWS and the runtime of its functions.

    FunctionConfig + Invocation  ->  Runtime.invoke  ->  Outcome

``Runtime`` is implemented by the process runtime and by containers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, Self

from pipeline.oci.values import ImageReference

# Lambda's limit for the payload of a synchronous answer, in bytes (AWS documentation, Lambda quotas).
PAYLOAD_MAX = 6_291_556


@dataclass(frozen=True, slots=True)
class FunctionConfig:
    """The configuration of an image function at one time: everything that determines what runs.

    Functions with equal values share warm workers; any difference requires new ones, as on Lambda.

    memory       MB
    timeout      seconds
    environment  the function's own variables
    credentials  AWS_* variables with a session of the function's role
    entry_point, command, working_directory  replace the image's own when given
    """

    name: str
    arn: str
    version: str
    image: ImageReference
    memory: int
    timeout: int
    region: str
    log_group: str
    environment: tuple[tuple[str, str], ...] = ()
    credentials: tuple[tuple[str, str], ...] = ()
    entry_point: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    working_directory: str | None = None

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Parse Lambda's description of a function (GetFunctionConfiguration with ImageUri and credentials).

        Raises ValueError if the image is not pinned by digest.
        """
        image = ImageReference.parse(document["ImageUri"])
        if image.digest is None:
            raise ValueError(f"an image is pinned as repository@sha256:<64 hexadecimal digits>, saw: {image}")
        override = document.get("ImageConfig") or {}
        name = document["FunctionName"]
        return cls(
            name=name,
            arn=document["FunctionArn"],
            version=document.get("Version") or "$LATEST",
            image=image,
            memory=int(document.get("MemorySize") or 128),
            timeout=int(document.get("Timeout") or 3),
            region=document["FunctionArn"].split(":")[3],
            log_group=document.get("LogGroup") or f"/aws/lambda/{name}",
            environment=tuple(sorted((document.get("Environment") or {}).items())),
            credentials=tuple(sorted((document.get("Credentials") or {}).items())),
            entry_point=tuple(override["EntryPoint"]) if override.get("EntryPoint") else None,
            command=tuple(override["Command"]) if override.get("Command") else None,
            working_directory=override.get("WorkingDirectory") or None,
        )

    @property
    def place(self) -> tuple[str, str]:
        """The identity that survives updates: ARN and version."""
        return self.arn, self.version


@dataclass(frozen=True, slots=True)
class Invocation:
    """One event for one function. ``event`` is JSON; ``trace_id`` the X-Ray header or ""."""

    request_id: str
    event: bytes
    function_arn: str
    trace_id: str = ""


class Status(StrEnum):
    """How an invocation ended, for the control plane."""

    OK = "ok"  # the handler returned
    ERROR = "error"  # a function error: the payload has errorType and errorMessage
    UNAVAILABLE = "unavailable"  # a Lambda service error, which callers retry
    THROTTLED = "throttled"  # no capacity, which callers retry


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an invocation. ``payload`` is JSON; ``log`` includes the START, END and REPORT lines."""

    status: Status
    payload: bytes
    log: str = ""

    @classmethod
    def error(cls, error_type: str, message: str, log: str = "") -> Self:
        """A function error with the payload that Lambda makes for it."""
        return cls(Status.ERROR, json.dumps({"errorType": error_type, "errorMessage": message}).encode(), log)

    @classmethod
    def unavailable(cls, message: str) -> Self:
        return cls(Status.UNAVAILABLE, json.dumps({"message": message}).encode())


class Runtime(Protocol):
    """Runs functions for the control plane. All methods are called on one event loop."""

    async def invoke(self, function: FunctionConfig, invocation: Invocation) -> Outcome:
        """Run the event with exactly ``function.image``; never raises for an error of the function."""
        ...

    async def prepare(self, function: FunctionConfig) -> None:
        """Return when the function's image is ready or unavailable, which ``invoke`` reports."""
        ...

    def follow(self, functions: Sequence[FunctionConfig], warm: Sequence[FunctionConfig]) -> None:
        """Set the functions that exist now. Others may be retired; those in ``warm`` will likely be invoked soon."""
        ...

    async def close(self) -> None:
        """End all workers."""
        ...
