"""The emulator's side of the bridge: hands invocations to the runtime, and keeps it informed of functions.

Threads, because ministack invokes from threads; ``pipeline.local.emulator.bridge`` has the frames and the other side.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import socket
import threading
from typing import Any

from pipeline.local.emulator.bridge import pack, read_frame
from pipeline.local.invocation import Status

# How often the emulator looks for functions that changed (seconds); the look is a walk over a dictionary in memory.
FOLLOW_SECONDS = 0.05

log = logging.getLogger("pipeline.local.emulator.bridge_client")


def describe_function(config: dict[str, Any], credentials: dict[str, str]) -> bytes:
    """The parts of ministack's function record that decide what runs, as JSON; equal functions give equal bytes."""
    document = {
        "FunctionName": config.get("FunctionName"),
        # An invocation through an alias carries the alias in the ARN; the workers are the version's.
        "FunctionArn": _unqualified_arn(config),
        "Version": config.get("Version"),
        "ImageUri": config.get("ImageUri"),
        "MemorySize": config.get("MemorySize"),
        "Timeout": config.get("Timeout"),
        "LogGroup": (config.get("LoggingConfig") or {}).get("LogGroup"),
        "Environment": (config.get("Environment") or {}).get("Variables"),
        "ImageConfig": (config.get("ImageConfigResponse") or {}).get("ImageConfig"),
        "Credentials": credentials,
    }
    return json.dumps(document, sort_keys=True).encode()


def _unqualified_arn(config: dict[str, Any]) -> str:
    return ":".join(str(config.get("FunctionArn", "")).split(":")[:7])


class _Waiting:
    """An invocation on its way; ``header`` stays None when the runtime went away."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.header: dict[str, str] | None = None
        self.payload = b""


def _event(event: Any) -> bytes:
    """The event as JSON; in the form of ASCII if it has half a surrogate pair, which has no UTF-8."""
    try:
        return json.dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(event).encode()


class InvocationClient:
    """Hands ministack's invocations to the runtime and waits for the answers."""

    def __init__(self, connection: socket.socket, lambda_svc: Any) -> None:
        self._connection = connection
        self._lambda = lambda_svc
        self._numbers = itertools.count(1)
        self._sending = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._closed = False
        threading.Thread(target=self._receive, daemon=True, name="bridge-receive").start()
        # The functions in the last frame that was sent, and whether an invocation of another one was sent since.
        self._sent, self._stale = b"", False
        threading.Thread(target=self._follow, daemon=True, name="bridge-follow").start()

    def invoke(self, config: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        """The result in the form of ministack's executors. Raises the exception that becomes a Lambda service error."""
        head = {
            "kind": "invoke",
            "request_id": request_id,
            "arn": config.get("FunctionArn", ""),
            "trace_id": self._lambda._xray_trace_id_for_invocation(config) or "",
        }
        function = describe_function(config, self._credentials(config))
        answer = self._ask(head, function, _event(event))
        return self._result(*answer, config)

    def prepare(self, config: dict[str, Any]) -> None:
        """Wait until the image of a function is ready, or cannot be had. Raises like ``invoke``."""
        self._ask({"kind": "prepare"}, describe_function(config, self._credentials(config)))

    def _ask(self, head: dict[str, Any], function: bytes, *parts: bytes) -> tuple[dict[str, str], bytes]:
        number, waiting = next(self._numbers), _Waiting()
        self._waiting[number] = waiting
        try:
            self._send(pack(json.dumps({**head, "id": number}).encode(), function, *parts))
            # Created, invoked and deleted between two looks: the runtime keeps its workers until the next frame.
            if function not in self._sent:
                self._stale = True
            # The timeout is for a request that was registered just as the runtime went away.
            while not waiting.arrived.wait(1.0) and not self._closed:
                pass
        finally:
            del self._waiting[number]
        if waiting.header is None:
            raise service_error("the runtime of the functions is gone")
        return waiting.header, waiting.payload

    def _credentials(self, config: dict[str, Any]) -> dict[str, str]:
        """A session of the function's role: one per version, not one per alias, so that aliases share workers."""
        credentials: dict[str, str] = self._lambda.execution_credentials(
            {**config, "FunctionArn": _unqualified_arn(config)}
        )
        return credentials

    def _result(self, header: dict[str, str], payload: bytes, config: dict[str, Any]) -> dict[str, Any]:
        match Status(header["status"]):
            case Status.UNAVAILABLE:
                raise service_error(json.loads(payload)["message"])
            case Status.THROTTLED:
                return throttled(
                    self._lambda, "ConcurrentInvocationLimitExceeded", f"Rate Exceeded: {config.get('FunctionName')}"
                )
            case status:
                result: dict[str, Any] = {"log": header["log"], "log_source": "rie"}
                try:
                    result["body"] = json.loads(payload) if payload else None
                    if b"\\ud" in payload.lower():  # ministack writes UTF-8, which half a surrogate pair does not have
                        json.dumps(result["body"], ensure_ascii=False).encode()
                except ValueError:
                    result |= {"body": payload.decode(errors="replace"), "raw_payload": True}
                return result | ({"error": True} if status is Status.ERROR else {})

    def _send(self, frame: bytes) -> None:
        try:
            with self._sending:
                self._connection.sendall(frame)
        except OSError as error:
            self._closed = True
            raise service_error("the runtime of the functions is gone") from error

    def _receive(self) -> None:
        with contextlib.suppress(OSError), self._connection.makefile("rb") as stream:
            while (parts := read_frame(stream)) is not None:
                header = json.loads(parts[0])
                waiting = self._waiting.get(header["id"])
                if waiting is not None:
                    waiting.header, waiting.payload = header, parts[1]
                    waiting.arrived.set()
        self._closed = True
        for waiting in list(self._waiting.values()):
            waiting.arrived.set()

    def _follow(self) -> None:
        """Send the runtime the image functions whenever they change."""
        pause = threading.Event()
        while not self._closed:
            try:
                stale, self._stale = self._stale, False
                frame = self._functions()
                if stale or frame != self._sent:
                    self._send(frame)
                    self._sent = frame
            except Exception:
                log.debug("functions could not be read", exc_info=True)
            pause.wait(FOLLOW_SECONDS)

    def _functions(self) -> bytes:
        functions: list[bytes] = []
        warm: list[int] = []
        for record in list(self._lambda._functions._data.values()):
            aliases = {alias.get("FunctionVersion") for alias in (record.get("aliases") or {}).values()}
            versions = (record.get("versions") or {}).values()
            for config in [record["config"], *(version["config"] for version in versions)]:
                if config.get("PackageType") != "Image":
                    continue
                if config.get("Version", "$LATEST") in (aliases or {"$LATEST"}):
                    warm.append(len(functions))
                functions.append(describe_function(config, self._credentials(config)))
        return pack(json.dumps({"kind": "functions", "warm": warm}).encode(), *functions)


def throttled(lambda_svc: Any, reason: str, message: str) -> dict[str, Any]:
    """A throttled invocation in the form of ministack's executors."""
    result: dict[str, Any] = lambda_svc._throttle_response(reason, message)
    return result


def service_error(message: str) -> Exception:
    """The exception that Step Functions reports as ``Lambda.ServiceException``, and Invoke as status 500."""
    from ministack.services import stepfunctions

    error: Exception = stepfunctions._ExecutionError("Lambda.ServiceException", message)
    error.args = (message,)
    return error
