"""The embedded AWS is on this machine: no call to it goes through a proxy, whatever the environment says."""

from __future__ import annotations

import json
from pathlib import Path

from tests.functional.command_line import CommandLine

# Nothing listens there: every call that goes through it fails.
DEAD = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:1")
TRANSACTION = {
    "transaction_id": "proxied-1",
    "amount": 100,
    "currency": "USD",
    "merchant_id": "merchant-001",
    "customer_id": "customer-001",
}


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(tmp_path: Path) -> None:
    line = CommandLine(tmp_path / "local")
    line.run("build")  # what comes from the package index does need a proxy
    try:
        assert line.json("up", **DEAD)["sample"]["outcome"] == "APPROVED"
        assert line.json("submit", json.dumps(TRANSACTION), **DEAD)["outcome"] == "APPROVED"
        assert line.json("status", **DEAD)["stacks"]
    finally:
        line.run("down", **DEAD)
