"""Where the console listens, and how it opens a browser."""

from __future__ import annotations

import ipaddress
import socket
import stat
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.console import serving
from pipeline.core.errors import LocalError

URL = "http://127.9.8.7:8123/open?ticket=secret&more"


def test_each_console_has_an_address_of_its_own() -> None:
    addresses = {serving.loopback_address() for _ in range(50)}
    assert len(addresses) > 45
    assert all(ipaddress.ip_address(each).is_loopback for each in addresses)


def test_the_ticket_is_in_a_private_file_and_in_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    serving._browse(URL, tmp_path)
    [page] = tmp_path.iterdir()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert "ticket=secret&amp;more" in page.read_text()
    assert opened == [page.as_uri()]
    assert "secret" not in opened[0]


def test_a_port_that_is_taken_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    subject: Any = SimpleNamespace()
    monkeypatch.setattr(serving, "loopback_address", lambda: "127.0.0.1")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LocalError, match=f"127.0.0.1:{port} cannot be listened on"):
            serving.serve(subject, port, lambda _url: None, browse=False)
