"""The embedded AWS: runs ministack in this process, on loopback only, with IAM enforced.

    python -m pipeline.local.emulator.server --socket FD [--bridge FD]

``--socket`` is a bound TCP socket that the owner passes on, so that the port is known, and taken, before anything
starts. ``--bridge`` is one end of a socket pair (see ``pipeline.local.emulator.bridge``) over which invocations of
image functions reach the owner's runtime; without it such functions answer that no runtime is there.

The process ends itself when its standard input does: the owner holds the other end of that pipe, so it is gone when the
owner is, also after SIGKILL. ``environment()`` gives the variables that the owner starts it with.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from pipeline.local.emulator.ahead import load_ahead
from pipeline.local.emulator.ecr_uploads import join_uploads
from pipeline.local.emulator.express import forget_executions, start_at_once
from pipeline.local.emulator.expressions import parse_expressions_once
from pipeline.local.emulator.patches import InvocationClient, hook_invocations, save_state, verify_ministack
from pipeline.local.emulator.replacements import know_replacements
from pipeline.local.emulator.state_roles import check_state_roles
from pipeline.local.emulator.zip_workers import start_without_botocore
from pipeline.local.processes import die_with_parent, kill_children, kill_marked

SERVICES = (
    "cloudformation", "cloudwatch", "dynamodb", "ec2", "ecr", "iam", "kms", "lambda", "logs", "s3", "sns", "sqs", "ssm",
    "stepfunctions", "sts",
)  # fmt: skip
# By a release, in its order. ministack's names, which are not always boto3's.
FIRST_ASKED = (
    "cloudformation", "ssm", "ecr", "iam", "lambda", "logs", "kms", "sns", "sqs", "dynamodb", "ec2", "states", "sts",
    "monitoring", "s3",
)  # fmt: skip
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPYCACHEPREFIX")
# In the state's folder: the state was saved whole when the last run ended.
SAVED = "saved"
# Time for the state to reach the disk after the end was asked for (seconds); then the process leaves without it. With
# 20,000 transactions and their logs it takes 12 s on a machine that is busy with other things.
SAVE_SECONDS = 90.0
# Time for answers that are ready to reach their callers.
ANSWER_SECONDS = 0.1


def environment(folder: Path, *, port: int, region: str, access_key_id: str, secret_access_key: str) -> dict[str, str]:
    """Everything the emulator needs to know; nothing of the caller's own AWS settings passes through.

    ministack reads its settings from variables at import. Anything it would put into the system's temporary folder
    goes under ``folder``.
    """
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
        # AWS's own quota; ministack would make one up from this machine's memory.
        "LAMBDA_ACCOUNT_CONCURRENCY": "1000",
        "LOG_LEVEL": "INFO",
    }


async def _serve(listener: socket.socket, asked: asyncio.Event) -> None:
    """Serve until ``asked``; raises what the server raises."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    # Never told to shut down: it would wait for every request, and a workflow may be at one for minutes.
    server = asyncio.create_task(serve(app, config, shutdown_trigger=asyncio.Event().wait))
    end = asyncio.create_task(asked.wait())
    await asyncio.wait((server, end), return_when=asyncio.FIRST_COMPLETED)
    if server.done():
        server.result()
    await asyncio.sleep(ANSWER_SECONDS)


async def _run(listener: socket.socket) -> int:
    """Serve until the owner is gone or asks for the end, then save; returns the exit status."""
    asked, loop = asyncio.Event(), asyncio.get_running_loop()

    def end(*_: object) -> None:
        # On threads, so that a handler that keeps the loop busy cannot keep the process.
        watchdog = threading.Timer(SAVE_SECONDS, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()
        loop.call_soon_threadsafe(asked.set)

    def watch_owner() -> None:
        while os.read(0, 4096):
            pass
        end()

    threading.Thread(target=watch_owner, daemon=True, name="owner").start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    load_ahead(FIRST_ASKED, know_replacements)  # CloudFormation's, which comes first
    await _serve(listener, asked)
    if not save_state():
        return 1
    (Path(os.environ["STATE_DIR"]) / SAVED).touch()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="pipeline.local.emulator.server", description="The embedded AWS.")
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of a bound TCP socket")
    parser.add_argument("--bridge", type=int, help="file descriptor of the runtime's socket")
    chosen = parser.parse_args(arguments)
    os.environ.pop("PYTHONPATH", None)  # what ministack starts has no business with our modules
    die_with_parent(signal.SIGTERM)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    lambda_svc = verify_ministack()
    client = None
    if chosen.bridge is not None:
        client = InvocationClient(socket.socket(fileno=chosen.bridge), lambda_svc)
    hook_invocations(lambda_svc, client)
    join_uploads()
    check_state_roles()
    forget_executions()
    start_at_once()
    parse_expressions_once()
    start_without_botocore()
    asyncio.run(_end_with(_run(socket.socket(fileno=chosen.socket))))
    raise AssertionError("the process has ended")


async def _end_with(running: Coroutine[Any, Any, int]) -> None:
    """End the process with the status of ``running``, whatever other threads are still at."""
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
