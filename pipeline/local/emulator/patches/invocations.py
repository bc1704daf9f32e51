"""Invocations of image functions go to the runtime."""

from __future__ import annotations

import contextvars
import importlib
import logging
import threading
from typing import Any

from pipeline.local.emulator.bridge_client import InvocationClient, service_error, throttled
from pipeline.local.emulator.patches.patch import Patch
from pipeline.local.emulator.strict.function_refusals import INVOCATION
from pipeline.local.emulator.strict.table import first_refusal

# The shortest time that a function stays "InProgress", so that the response to the change shows it (seconds).
TRANSITION_SECONDS = 0.01
_RUNTIME = "runtime:"

log = logging.getLogger("pipeline.local.emulator.patches.invocations")


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
            "services.lambda_svc:_reserved_concurrency",
            "ebec4b4bba775119",
            "looks for the reservation in the record of the invoked version, which has none",
            "all versions and aliases of a function share its reservation, and with a reservation of 0 none runs",
            "D Lambda developer guide, Configuring reserved concurrency for a function",
            _of_the_function,
        ),
        Patch(
            "services.lambda_svc:_throttle_response",
            "647221d5b0775feb",
            "gives a throttled invocation no error type, so a state machine sees Lambda.Unknown",
            "a task that is throttled fails with Lambda.TooManyRequestsException",
            "D Step Functions developer guide, Handling transient Lambda service exceptions",
            _with_error_type,
        ),
        Patch(
            "services.lambda_svc:_schedule_state_transition",
            "f072b21e2fd9fe3c",
            "keeps a changed function InProgress for half a second, in place of the time to fetch its image",
            "a function is Pending or InProgress until its image has been fetched, and then Active and Successful",
            "D Lambda developer guide, Lambda function states",
            lambda original, module: _become_active(original, module, client),
        ),
        Patch(
            "services.lambda_svc:_schedule_state_transition",
            "f072b21e2fd9fe3c",
            "leaves the CodeSha256 of an image function empty",
            "it is the digest of the image in hexadecimal, also in ListFunctions, which has no image URI",
            "recorded: image-function",
            _with_code_digest,
        ),
        Patch(
            "services.cloudformation.stacks:_provision_resource",
            "3b8f01fb187141b6",
            "creates a function as Active",
            "a function is Pending until its image has been fetched, and then Active",
            "D Lambda developer guide, Lambda function states",
            _create_pending,
        ),
    )


def _with_error_type(original: Any, _module: Any) -> Any:
    def _throttle_response(*arguments: Any, **more: Any) -> dict[str, Any]:
        result: dict[str, Any] = original(*arguments, **more)
        # Step Functions reads the error's name here, Invoke the rest.
        result["body"]["errorType"] = "Lambda.TooManyRequestsException"
        return result

    return _throttle_response


def _of_the_function(original: Any, module: Any) -> Any:
    def _reserved_concurrency(func: dict[str, Any], config: dict[str, Any]) -> int | None:
        reserved: int | None = original(module._functions.get(config.get("FunctionName")) or func, config)
        return reserved

    return _reserved_concurrency


def _route(proxy_url_for: Any, _module: Any) -> Any:
    def _proxy_url_for(config: dict[str, Any]) -> str | None:
        url: str | None = proxy_url_for(config)
        return url or (_RUNTIME if config.get("PackageType") == "Image" else None)

    return _proxy_url_for


def _become_active(schedule: Any, lambda_svc: Any, client: InvocationClient | None) -> Any:
    def _schedule_state_transition(func_name: str, delay: float) -> None:  # noqa: ARG001
        config = (lambda_svc._functions.get(func_name) or {}).get("config") or {}
        if client is None or config.get("PackageType") != "Image":
            schedule(func_name, TRANSITION_SECONDS)
            return

        def fetch() -> None:
            try:
                client.prepare(config)
            except Exception as error:  # noqa: BLE001 - the runtime is ending; an invocation reports it
                log.info("the image of %s was not fetched: %s", func_name, error)
            schedule(func_name, TRANSITION_SECONDS)

        # ministack keeps account and region in the context.
        threading.Thread(target=contextvars.copy_context().run, args=(fetch,), daemon=True, name="fetch-image").start()

    return _schedule_state_transition


def _with_code_digest(schedule: Any, lambda_svc: Any) -> Any:
    """Every creation and every update of a function's code ends in this call, and versions are copies."""

    def _schedule_state_transition(func_name: str, delay: float) -> None:
        config = (lambda_svc._functions.get(func_name) or {}).get("config") or {}
        if config.get("PackageType") == "Image":
            config["CodeSha256"] = str(config.get("ImageUri", "")).partition("@sha256:")[2]
        schedule(func_name, delay)

    return _schedule_state_transition


def _create_pending(provision: Any, _module: Any) -> Any:
    def _provision_resource(resource_type: str, logical_id: str, props: Any, stack_name: str) -> Any:
        created = provision(resource_type, logical_id, props, stack_name)
        if resource_type == "AWS::Lambda::Function":
            lambda_svc = importlib.import_module("ministack.services.lambda_svc")
            lambda_svc._functions[created[0]]["config"]["State"] = "Pending"
            lambda_svc._schedule_state_transition(created[0], TRANSITION_SECONDS)
        return created

    return _provision_resource


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
