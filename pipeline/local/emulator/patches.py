"""Where the embedded AWS meets the runtime: the one place that knows ministack's inside.

Two functions of ministack's Lambda service are replaced in the emulator's own process, so that an invocation of an
image function goes to the runtime over the bridge and its true answer comes back. What is replaced and what is read is
verified at start against one pinned version.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import inspect
import itertools
import json
import logging
import socket
import threading
from typing import Any

from pipeline.core.errors import LocalError
from pipeline.local.emulator.bridge import pack, read_frame
from pipeline.local.invocation import Status

# What is hooked is not a public interface, so one exact version is asked for.
MINISTACK_VERSION = "1.5.33"
# How often the emulator looks whether a function changed (seconds); the look is a walk over a dictionary in memory.
FOLLOW_SECONDS = 0.05
# How long a changed function is "InProgress": long enough for the answer of the change to say so.
TRANSITION_SECONDS = 0.01
_HOOKED = {
    "_proxy_url_for": ("config",),
    "_execute_function_proxy": ("func", "event", "url", "request_id"),
}
_READ = {
    "execution_credentials": ("config",),
    "_throttle_response": ("reason_code", "msg", "retry_after"),
    "_xray_trace_id_for_invocation": ("config", "inbound_trace_header"),
}
_RUNTIME = "runtime:"

log = logging.getLogger("pipeline.local.emulator.patches")


def require_version() -> None:
    """Raises LocalError when ministack is missing or has another version."""
    try:
        found = importlib.metadata.version("ministack")
    except importlib.metadata.PackageNotFoundError as error:
        raise LocalError(
            "the embedded AWS was not started", "the package ministack is not installed", "Run: pip install '.[local]'"
        ) from error
    if found != MINISTACK_VERSION:
        raise LocalError(
            "the embedded AWS was not started",
            f"ministack {found} is installed, and this release is made for {MINISTACK_VERSION}",
            f"Run: pip install 'ministack=={MINISTACK_VERSION}'",
        )


def verify_ministack() -> Any:
    """The ``lambda_svc`` module of the one ministack version whose functions are hooked.

    Raises LocalError when ministack is missing, has another version, or does not have what is hooked and read.
    """
    require_version()
    lambda_svc = importlib.import_module("ministack.services.lambda_svc")
    for name, parameters in (_HOOKED | _READ).items():
        function = getattr(lambda_svc, name, None)
        if function is None or tuple(inspect.signature(function).parameters) != parameters:
            raise LocalError(
                "the embedded AWS was not started",
                f"ministack's {name}({', '.join(parameters)}) is not what is expected",
                f"Run: pip install --force-reinstall 'ministack=={MINISTACK_VERSION}'",
            )
    return lambda_svc


def hook_invocations(lambda_svc: Any, client: InvocationClient | None) -> None:
    """Hand invocations of image functions to the runtime; every other function goes ministack's own way."""
    # ministack says for half a second that a changed function is being updated, as AWS does while it fetches an image.
    # Here the next invocation waits for the image itself.
    lambda_svc._LAMBDA_STATE_TRANSITION_DELAY = TRANSITION_SECONDS
    proxy_url_for, execute_function_proxy = (getattr(lambda_svc, name) for name in _HOOKED)

    def _proxy_url_for(config: dict[str, Any]) -> str | None:
        url: str | None = proxy_url_for(config)
        return url or (_RUNTIME if config.get("PackageType") == "Image" else None)

    def _execute_function_proxy(func: dict[str, Any], event: Any, url: str, request_id: str) -> dict[str, Any]:
        if url != _RUNTIME:
            result: dict[str, Any] = execute_function_proxy(func, event, url, request_id)
            return result
        if client is None:
            raise _service_error("no runtime is attached to this emulator")
        return client.invoke(func.get("config") or func, event, request_id)

    lambda_svc._proxy_url_for = _proxy_url_for
    lambda_svc._execute_function_proxy = _execute_function_proxy


def save_state() -> bool:
    """Write everything that ministack knows to its state folder, as it does when it ends; False when some was not.

    Taken on its own, because ministack would wait for all requests first.
    """
    from ministack import app
    from ministack.core import persistence

    failures: list[str] = []

    class Failures(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            failures.append(record.getMessage())

    # ministack goes on after a failure, and says so here only.
    logging.getLogger("persistence").addHandler(Failures(logging.ERROR))
    for _ in range(3):  # a thread that is at work may change what is being read
        failures.clear()
        persistence.save_all(app._build_persistence_save_dict())
        if not failures:
            return True
    return False


def describe_function(config: dict[str, Any], credentials: dict[str, str]) -> bytes:
    """The parts of ministack's function record that decide what runs, as JSON that is equal for equal functions."""
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
        # The functions that the runtime was told of last, and whether it was sent an invocation of another.
        self._told, self._untold = b"", False
        threading.Thread(target=self._follow, daemon=True, name="bridge-follow").start()

    def invoke(self, config: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        """The result as ministack's executors give it. Raises what ministack turns into a Lambda service error."""
        number, waiting = next(self._numbers), _Waiting()
        head = {
            "kind": "invoke",
            "id": number,
            "request_id": request_id,
            "arn": config.get("FunctionArn", ""),
            "trace_id": self._lambda._xray_trace_id_for_invocation(config) or "",
        }
        function = describe_function(config, self._credentials(config))
        frame = pack(json.dumps(head).encode(), function, json.dumps(event, ensure_ascii=False).encode())
        self._waiting[number] = waiting
        try:
            self._send(frame)
            # Made, invoked and deleted between two looks: the runtime has workers of it, and nothing seems changed.
            if function not in self._told:
                self._untold = True
            # Looked at now and then too, for an invocation that came in just as the runtime went away.
            while not waiting.arrived.wait(1.0) and not self._closed:
                pass
        finally:
            del self._waiting[number]
        if waiting.header is None:
            raise _service_error("the runtime of the functions is away")
        return self._result(waiting.header, waiting.payload, config)

    def _credentials(self, config: dict[str, Any]) -> dict[str, str]:
        """A session of the function's role. ministack has one for each alias too, whose workers would be others."""
        credentials: dict[str, str] = self._lambda.execution_credentials(
            {**config, "FunctionArn": _unqualified_arn(config)}
        )
        return credentials

    def _result(self, header: dict[str, str], payload: bytes, config: dict[str, Any]) -> dict[str, Any]:
        match Status(header["status"]):
            case Status.UNAVAILABLE:
                raise _service_error(json.loads(payload)["message"])
            case Status.THROTTLED:
                throttled: dict[str, Any] = self._lambda._throttle_response(
                    "ConcurrentInvocationLimitExceeded", f"Rate Exceeded: {config.get('FunctionName')}"
                )
                # Step Functions reads the error's name here, Invoke the rest.
                throttled["body"]["errorType"] = "Lambda.TooManyRequestsException"
                return throttled
            case status:
                result: dict[str, Any] = {"log": header["log"], "log_source": "rie"}
                try:
                    result["body"] = json.loads(payload) if payload else None
                except ValueError:
                    result |= {"body": payload.decode(errors="replace"), "raw_payload": True}
                return result | ({"error": True} if status is Status.ERROR else {})

    def _send(self, frame: bytes) -> None:
        try:
            with self._sending:
                self._connection.sendall(frame)
        except OSError as error:
            self._closed = True
            raise _service_error("the runtime of the functions is away") from error

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
        """Tell the runtime whenever the image functions of the control plane are others than before."""
        pause = threading.Event()
        while not self._closed:
            try:
                untold, self._untold = self._untold, False
                frame = self._functions()
                if untold or frame != self._told:
                    self._send(frame)
                    self._told = frame
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


def _service_error(message: str) -> Exception:
    """What Step Functions sees as ``Lambda.ServiceException``, and a caller of Invoke as a status of 500."""
    from ministack.services import stepfunctions

    error: Exception = stepfunctions._ExecutionError("Lambda.ServiceException", message)
    error.args = (message,)
    return error
