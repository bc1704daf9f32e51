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
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from pipeline.local.ecr_uploads import join_uploads
from pipeline.local.hooks import InvocationClient, hook_invocations, verify_ministack
from pipeline.local.processes import die_with_parent, kill_children, kill_marked

SERVICES = (
    "cloudformation", "cloudwatch", "dynamodb", "ec2", "ecr", "iam", "kms", "lambda", "logs", "s3", "sns", "sqs", "ssm",
    "stepfunctions", "sts",
)  # fmt: skip
# In the state's folder: the state was saved whole when the last run ended.
SAVED = "saved"
# Time for the state to reach the disk after the end was asked for (seconds); then the process leaves without it.
SAVE_SECONDS = 20.0


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
        client = InvocationClient(socket.socket(fileno=chosen.bridge), lambda_svc)
    hook_invocations(lambda_svc, client)
    join_uploads()
    try:
        asyncio.run(_serve(socket.socket(fileno=chosen.socket), ends))
    finally:
        kill_children()
        kill_marked(Path(os.environ["STATE_DIR"]).parent)
    (Path(os.environ["STATE_DIR"]) / SAVED).touch()
    # Threads that wait for an answer of the runtime must not hold the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
