"""The embedded AWS: runs ministack in this process, on loopback only, with IAM enforced.

    python -m pipeline.local.emulator.server --socket FD [--bridge FD]

``--socket`` is a TCP socket that the owner has bound, so that the port is known and reserved before the start.
``--bridge`` is one end of a socket pair (see ``pipeline.local.emulator.bridge``) over which invocations of image
functions reach the owner's runtime; without it such invocations are service errors.

The process ends when its standard input ends: the owner holds the other end of that pipe, so the emulator does not
outlive it, even after SIGKILL. ``environment()`` gives the variables that the owner starts it with.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pipeline.core.errors import LocalError
from pipeline.local.emulator.admission import Admission
from pipeline.local.emulator.bridge_client import InvocationClient
from pipeline.local.emulator.durable.durable_state import DurableState
from pipeline.local.emulator.patches.access import MinistackAccount
from pipeline.local.emulator.patches.catalogue import patch_ministack, require_version
from pipeline.local.emulator.patches.patch import Patch
from pipeline.local.emulator.registry_logins import RegistryLogins
from pipeline.local.emulator.strict.control_plane import ACCOUNT_VARIABLE, FRESH
from pipeline.local.host_state import Access, RootKey
from pipeline.local.processes import die_with_parent, kill_children, kill_marked

SERVICES = (
    "apigateway", "cloudformation", "cloudwatch", "dynamodb", "dynamodbstreams", "ec2", "ecr", "events", "iam",
    "kinesis", "kms", "lambda", "logs", "s3", "scheduler", "secretsmanager", "sns", "sqs", "ssm", "stepfunctions",
    "sts",
)  # fmt: skip
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPYCACHEPREFIX")
# Variables for this process alone; it removes them from its environment.
_TOKEN = "LOCAL_TOKEN"  # noqa: S105
_HOSTS = "LOCAL_HOSTS"
_IDENTITY = "LOCAL_IDENTITY"
_ACCOUNT = "000000000000"
# Time to write the state to disk at the end (seconds); then the process exits without it. 20,000 transactions with
# their logs take 12 s on a busy machine.
SAVE_SECONDS = 90.0
# The exit status when ministack is not the one that it is patched for; the last line of the output says why.
REFUSED = 3
# Time for finished responses to reach their callers (seconds).
ANSWER_SECONDS = 0.1


def environment(folder: Path, *, port: int, region: str, access: Access, identity: str) -> dict[str, str]:
    """The emulator's complete environment, without the caller's AWS settings.

    ministack reads its settings from variables at import. Its temporary files go below ``folder``.

    identity  of the state in ``folder``; "" for a state that ends with the process
    """
    fresh = os.environ.get(ACCOUNT_VARIABLE) == FRESH
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "SERVICES": ",".join(SERVICES),
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": access.root.access_key_id,
        "AWS_SECRET_ACCESS_KEY": access.root.secret_access_key,
        _TOKEN: access.token,
        _HOSTS: " ".join(access.hosts),
        _IDENTITY: identity,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PERSIST_STATE": "1" if identity else "0",
        "STATE_DIR": str(folder / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "s3"),
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        # ministack removes its own containers at start and stop; here it has none and gets no engine.
        "DOCKER_HOST": f"unix://{folder / 'no-docker.sock'}",
        # AWS's quota; ministack would derive one from this machine's memory.
        "LAMBDA_ACCOUNT_CONCURRENCY": "10" if fresh else "1000",
        ACCOUNT_VARIABLE: FRESH if fresh else "",
        "LOG_LEVEL": "INFO",
    }


def _admission(access: Access, logins: RegistryLogins, state: DurableState | None) -> Admission:
    """ministack behind ``admission``."""
    from ministack.app import app

    region, root = os.environ["MINISTACK_REGION"], access.root
    account = MinistackAccount(root.access_key_id, root.secret_access_key, _ACCOUNT, region)
    admission = Admission(app, account, logins, access.token, _ACCOUNT, region, frozenset(access.hosts))
    return admission if state is None else replace(admission, served=state.served)


async def _serve(listener: socket.socket, application: Admission, ending: asyncio.Event) -> None:
    """Serve until ``ending`` is set; raises what the server raises."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    # Never triggered: a shutdown waits for every request, and a workflow may take minutes.
    server = asyncio.create_task(serve(cast(Any, application), config, shutdown_trigger=asyncio.Event().wait))
    end = asyncio.create_task(ending.wait())
    await asyncio.wait((server, end), return_when=asyncio.FIRST_COMPLETED)
    if server.done():
        server.result()
    await asyncio.sleep(ANSWER_SECONDS)


async def _run(listener: socket.socket, application: Admission, state: DurableState | None) -> int:
    """Serve until the owner is gone or sends SIGTERM, then save; returns the exit status."""
    ending, loop = asyncio.Event(), asyncio.get_running_loop()

    def end(*_: object) -> None:
        # In threads, so that a handler that blocks the loop cannot keep the process alive.
        watchdog = threading.Timer(SAVE_SECONDS, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()
        loop.call_soon_threadsafe(ending.set)

    def watch_owner() -> None:
        while os.read(0, 4096):
            pass
        end()

    threading.Thread(target=watch_owner, daemon=True, name="owner").start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    await _serve(listener, application, ending)
    return 0 if state is None or state.finish() else 1


def main(arguments: Sequence[str] | None = None, faults: Sequence[Patch] = (), *, durable: bool = True) -> int:
    """Run until the owner is gone. Returns only if it cannot start: REFUSED, with the error as a last line of JSON.

    durable  False for tests and a benchmark with an emulator that keeps nothing
    """
    parser = argparse.ArgumentParser(prog="pipeline.local.emulator.server", description="The embedded AWS.")
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of a bound TCP socket")
    parser.add_argument("--bridge", type=int, help="file descriptor of the runtime's socket")
    chosen = parser.parse_args(arguments)
    os.environ.pop("PYTHONPATH", None)  # not for the processes that ministack starts
    die_with_parent(signal.SIGTERM)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    root = RootKey(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    access = Access(root, os.environ.pop(_TOKEN), tuple(os.environ.pop(_HOSTS).split()))
    logins = RegistryLogins(access.token, root.access_key_id)
    identity = os.environ.pop(_IDENTITY)
    state = DurableState(Path(os.environ["STATE_DIR"]), identity) if durable and identity else None
    try:
        require_version()
        client = None
        if chosen.bridge is not None:
            lambda_svc = importlib.import_module("ministack.services.lambda_svc")
            client = InvocationClient(socket.socket(fileno=chosen.bridge), lambda_svc)
        patch_ministack(client, logins, state, faults)
    except LocalError as error:
        sys.stdout.write(json.dumps([error.what, error.why, str(error.next_step)]) + "\n")
        return REFUSED
    asyncio.run(_end_with(_run(socket.socket(fileno=chosen.socket), _admission(access, logins, state), state)))
    raise AssertionError("the process has ended")


async def _end_with(running: Coroutine[Any, Any, int]) -> None:
    """End the process with the status of ``running``, even while other threads are busy."""
    status = 1
    try:
        status = await running
    except BaseException:
        logging.getLogger("pipeline.local.emulator.server").exception("the emulator failed")
        raise
    finally:
        kill_children()
        kill_marked(Path(os.environ["STATE_DIR"]).parent)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
