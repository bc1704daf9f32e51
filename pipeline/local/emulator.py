"""The embedded AWS: runs ministack in this process, on loopback only, with IAM enforced.

    python -m pipeline.local.emulator --socket FD [--bridge FD]

``--socket`` is a bound TCP socket that the owner passes on, so that the port is known, and taken, before anything
starts. ``--bridge`` is one end of a socket pair (see ``pipeline.local.bridge``) over which invocations of image
functions reach the owner's runtime; without it such functions answer that no runtime is there.

The process ends itself when its standard input does: the owner holds the other end of that pipe, so it is gone when the
owner is, also after SIGKILL. ``environment()`` gives the variables that the owner starts it with.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import importlib.metadata
import inspect
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import LocalError
from pipeline.local.processes import die_with_parent, kill_children

if TYPE_CHECKING:
    from pipeline.local.bridge import InvocationClient

# The hooks below reach into functions that are not a public interface, so one exact version is asked for.
MINISTACK_VERSION = "1.5.33"
SERVICES = (
    "cloudformation", "cloudwatch", "dynamodb", "ec2", "ecr", "iam", "kms", "lambda", "logs", "s3", "sns", "sqs", "ssm",
    "stepfunctions", "sts",
)  # fmt: skip
# Time for the state to reach the disk after the end was asked for (seconds); then the process leaves without it.
SAVE_SECONDS = 20.0
_HOOKS = {
    "_proxy_url_for": ("config",),
    "_execute_function_proxy": ("func", "event", "url", "request_id"),
}
_RUNTIME = "runtime:"


def environment(folder: Path, *, port: int, region: str, access_key_id: str, secret_access_key: str) -> dict[str, str]:
    """Everything the emulator needs to know; nothing of the caller's own AWS settings passes through.

    ministack reads its settings from variables at import. Anything it would put into the system's temporary folder
    goes under ``folder``.
    """
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return inherited | {
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "SERVICES": ",".join(SERVICES),
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret_access_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "s3"),
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        # ministack removes containers of its own at start and stop; here it has none, and others are not its business.
        "DOCKER_HOST": f"unix://{folder / 'no-docker.sock'}",
        "LOG_LEVEL": "INFO",
    }


def verify_ministack() -> Any:
    """The ``lambda_svc`` module of the one ministack version whose functions are hooked.

    Raises LocalError when ministack is missing, has another version, or does not have the hooked functions.
    """
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
    lambda_svc = importlib.import_module("ministack.services.lambda_svc")
    for name, parameters in _HOOKS.items():
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
    proxy_url_for, execute_function_proxy = (getattr(lambda_svc, name) for name in _HOOKS)

    def _proxy_url_for(config: dict[str, Any]) -> str | None:
        url: str | None = proxy_url_for(config)
        return url or (_RUNTIME if config.get("PackageType") == "Image" else None)

    def _execute_function_proxy(func: dict[str, Any], event: Any, url: str, request_id: str) -> dict[str, Any]:
        if url != _RUNTIME:
            result: dict[str, Any] = execute_function_proxy(func, event, url, request_id)
            return result
        if client is None:
            return {
                "error": True,
                "body": {"errorType": "Runtime.Unavailable", "errorMessage": "no runtime is attached"},
            }
        return client.invoke(func.get("config") or func, event, request_id)

    lambda_svc._proxy_url_for = _proxy_url_for
    lambda_svc._execute_function_proxy = _execute_function_proxy


async def _serve(listener: socket.socket, ends: threading.Event) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1.0
    config.loglevel = "WARNING"
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ends.set)

    def wait() -> None:
        ends.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: it ended by itself
            loop.call_soon_threadsafe(asked.set)
        threading.Timer(SAVE_SECONDS, os._exit, (1,)).start()

    threading.Thread(target=wait, daemon=True, name="end").start()
    await serve(app, config, shutdown_trigger=asked.wait)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="pipeline.local.emulator", description="The embedded AWS.")
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of a bound TCP socket")
    parser.add_argument("--bridge", type=int, help="file descriptor of the runtime's socket")
    chosen = parser.parse_args(arguments)
    os.environ.pop("PYTHONPATH", None)  # what ministack starts has no business with our modules
    die_with_parent(signal.SIGTERM)
    ends = threading.Event()

    def watch_owner() -> None:
        while os.read(0, 4096):
            pass
        ends.set()

    threading.Thread(target=watch_owner, daemon=True, name="owner").start()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    lambda_svc = verify_ministack()
    client = None
    if chosen.bridge is not None:
        from pipeline.local.bridge import InvocationClient

        client = InvocationClient(socket.socket(fileno=chosen.bridge), lambda_svc)
    hook_invocations(lambda_svc, client)
    try:
        asyncio.run(_serve(socket.socket(fileno=chosen.socket), ends))
    finally:
        kill_children()
    # Threads that wait for an answer of the runtime must not hold the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
