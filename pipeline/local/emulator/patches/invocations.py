"""Invocations of image functions go to the runtime."""

from __future__ import annotations

from typing import Any

from pipeline.local.emulator.bridge_client import InvocationClient, service_error, throttled
from pipeline.local.emulator.patches.patch import Patch
from pipeline.local.emulator.strict.function_refusals import INVOCATION
from pipeline.local.emulator.strict.table import first_refusal

# How long a changed function stays "InProgress": long enough for the response of the change to say so (seconds).
TRANSITION_SECONDS = 0.01
_RUNTIME = "runtime:"


def invocation_patches(client: InvocationClient | None) -> tuple[Patch, ...]:
    """The rows; without a client every invocation of an image function is a service error."""
    return (
        Patch(
            "services.lambda_svc:_proxy_url_for",
            "0cd4c92f6ef3a4b6",
            "runs an image function in a container, or forwards it to a URL in its own environment variable",
            "Lambda runs the image; here the runtime of the local target does",
            "docs/decisions/embedded-aws.md",
            _route,
        ),
        Patch(
            "services.lambda_svc:_execute_function_proxy",
            "366136a176cef502",
            "loses the error type and the log of a forwarded invocation: every error is Runtime.HandlerError",
            "the error type decides which Retry and Catch of a state machine apply; the log tail is in the response",
            "D Lambda API_Invoke; D Step Functions developer guide, Handling errors",
            lambda original, module: _execute(original, module, client),
        ),
        Patch(
            "services.lambda_svc:_LAMBDA_STATE_TRANSITION_DELAY",
            "d2cbad71ff333de6",
            "keeps a changed function InProgress for a fixed half second, in place of the time to fetch its image",
            "the time depends on the image; here the runtime really fetches it, and the next invocation waits for that",
            "D Lambda developer guide, Lambda function states",
            lambda _original, _module: TRANSITION_SECONDS,
        ),
    )


def _route(proxy_url_for: Any, _module: Any) -> Any:
    def _proxy_url_for(config: dict[str, Any]) -> str | None:
        url: str | None = proxy_url_for(config)
        return url or (_RUNTIME if config.get("PackageType") == "Image" else None)

    return _proxy_url_for


def _execute(execute_function_proxy: Any, lambda_svc: Any, client: InvocationClient | None) -> Any:
    def _execute_function_proxy(func: dict[str, Any], event: Any, url: str, request_id: str) -> dict[str, Any]:
        if url != _RUNTIME:
            result: dict[str, Any] = execute_function_proxy(func, event, url, request_id)
            return result
        if client is None:
            raise service_error("no runtime is attached to this emulator")
        config = func.get("config") or func
        refused = first_refusal("lambda", INVOCATION, {"FunctionName": config.get("FunctionName")})
        if refused is not None:
            row, message = refused
            return throttled(lambda_svc, (row.extra or {})["Reason"], message)
        return client.invoke(config, event, request_id)

    return _execute_function_proxy
