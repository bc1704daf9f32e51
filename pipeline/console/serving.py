"""Serves the console on loopback until Ctrl-C, and opens it in a browser."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from html import escape
from pathlib import Path

import uvicorn

from pipeline.console.application import application
from pipeline.console.console_access import Access
from pipeline.console.console_state import Console
from pipeline.console.subject import Subject
from pipeline.core.errors import LocalError, NextStep

# Seconds for streams and requests that run when the console ends.
_PATIENCE = 2


def loopback_address() -> str:
    """An address of this machine that no other server uses: browsers send a host's cookies to each of its ports.

    All of 127.0.0.0/8 is loopback (RFC 1122, 3.2.1.3), and Linux answers on all of it.
    """
    return ".".join(["127", *(str(1 + secrets.randbelow(254)) for _ in range(3))])


def serve(subject: Subject, port: int, announce: Callable[[str], None], *, browse: bool) -> None:
    """Serve until KeyboardInterrupt, which ends it normally.

    port      0 chooses a free one
    announce  is given the address, which works once
    browse    open a browser, too

    Raises LocalError if the port is not free.
    """
    address = loopback_address()
    with socket.socket() as listener, tempfile.TemporaryDirectory(prefix="console-") as folder:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen()  # before the address is announced: a browser may be quicker than the server
        except OSError as error:
            why = f"{address}:{port} cannot be listened on: {error.strerror or error}"
            raise LocalError("the console was not started", why, NextStep("Choose another --port.")) from error
        asyncio.run(_serve(subject, listener, address, Path(folder), announce, browse=browse))


async def _serve(
    subject: Subject, listener: socket.socket, address: str, folder: Path, announce: Callable[[str], None], *,
    browse: bool,
) -> None:  # fmt: skip
    console = Console(subject, folder)
    access = Access(application(console), address, listener.getsockname()[1])
    config = uvicorn.Config(
        access, lifespan="off", log_config=None, access_log=False, server_header=False, date_header=False, ws="none",
        loop="asyncio", http="h11", proxy_headers=False, timeout_graceful_shutdown=_PATIENCE,
        h11_max_incomplete_event_size=64 << 10,
    )  # fmt: skip
    server = _Server(config, console.ending)
    threading.Thread(target=console.prepare, name="first page", daemon=True).start()
    announce(access.url)
    if browse:
        threading.Thread(target=_browse, args=(access.url, folder), name="browser", daemon=True).start()
    try:
        await server.serve(sockets=[listener])
    finally:
        console.close()


class _Server(uvicorn.Server):
    """Ends live parts of pages first, so that the rest of the shutdown waits for nothing."""

    def __init__(self, config: uvicorn.Config, ending: asyncio.Event) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending.set()
        await super().shutdown(sockets)


def _browse(url: str, folder: Path) -> None:
    """Open the address through a file that only this user can read: arguments of processes can be read by all."""
    page = folder / "open.html"
    descriptor = os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(url)}"><title>Console</title>')
    webbrowser.open(page.as_uri())
