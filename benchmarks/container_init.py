"""INIT and warm time of each function in a container with the Runtime Interface Emulator, and of an empty handler.

    python benchmarks/container_init.py --base IMAGE [--python 3.13] [--rounds 10] [--calls 200] [--check]

The rows are an empty handler, one that only imports Powertools, and the functions. All images have the same base and
are built by the Docker builder; containers have the limits of function.toml and run next to an embedded AWS. A round
starts one container per row, so a busy moment affects all rows. INIT is the emulator's measurement, from the start of
the runtime to its first request; warm is a whole HTTP request, p50. Both are measured without and with
``byte_code = true``. The goals apply to the latter: INIT of at most 2 times the empty handler's for validation and
compliance and 4 times for fraud detection; and to both: warm p50 within 2 ms of the empty handler. --check exits 1 if a
goal is missed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.model import Platform, PythonVersion
from pipeline.assembly.sources import find_sources
from pipeline.core.files import cache_folder
from pipeline.engine.builder import DockerBuilder
from pipeline.engine.connection import connect_engine
from pipeline.oci.blobs import BlobStore
from pipeline.target import host_architecture

GOALS = {"transaction-validation": 2.0, "compliance-checking": 2.0, "fraud-detection": 4.0}
WARM_GOAL_MS = 2.0
EMPTY = "empty"
# An empty handler that imports what every function imports.
POWERTOOLS = "powertools-alone"
PATH = "/2015-03-31/functions/function/invocations"
_INIT = re.compile(rb"INIT REPORT\(durationMs: ([0-9.]+)\)")
_PAYLOAD = {
    "transaction": {
        "transaction_id": "bench", "amount": "100.00", "amount_minor": 10000, "currency": "USD",
        "merchant_id": "m-1", "customer_id": "c-1",
    },
    "received_at": "2026-11-23T14:00:00.000Z", "execution": "bench",
}  # fmt: skip
# A table that answers at once, so that what is measured is the function: the shape of DynamoDB's empty Query.
TABLE = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Table(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"Count": 0, "Items": [], "ScannedCount": 0}'
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
ThreadingHTTPServer(("0.0.0.0", 8000), Table).serve_forever()
"""


@dataclass
class Row:
    """One function: its image, and what was measured in milliseconds."""

    name: str
    image: str
    memory: int
    byte_code: bool
    init: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)


def build_rows(engine: Any, base: str, platform: Platform, work: Path, *, byte_code: bool) -> list[Row]:
    """The functions and the two handlers, all on one base."""
    store = BlobStore(cache_folder())
    like = ROOT / "images" / "transaction-validation"
    for name, first in ((EMPTY, ""), (POWERTOOLS, "from aws_lambda_powertools import Logger, Metrics\n")):
        folder = work / name
        folder.mkdir(parents=True)
        (folder / "handler.py").write_text(f"{first}def handle(event, context):\n    return event\n")
        (folder / "function.toml").write_text('handler = "handler.handle"\n')
        shutil.copy(like / "Dockerfile", folder)
        if first:
            shutil.copy(like / "requirements.txt", folder)
    own = find_sources(ROOT / "images", python=platform.python)
    slim = Slim.for_sources(own, byte_code=byte_code)
    if byte_code and not slim.compiles_for(platform.python):
        raise SystemExit(f"error: this Python cannot make byte code for {platform.python}")
    rows = []
    for source in (*find_sources(work, python=platform.python), *own):
        DockerBuilder(platform, store, slim, engine=engine).build(source, base)
        image = f"transaction-pipeline/{source.name}:latest"
        rows.append(Row(source.name, image, source.definition.memory, byte_code))
    return rows


class Lab:
    """Containers on a network of their own, with a table in it; all removed at the end."""

    def __init__(self, engine: Any, image: str) -> None:
        self.engine = engine
        self.name = f"bench-{uuid.uuid4().hex[:8]}"
        self._containers: list[str] = []
        engine.create_network(self.name, driver="bridge")
        table = self._create(image, entrypoint=["python3", "-c", TABLE], networking=["table"])
        engine.start(table)

    def _create(self, image: str, *, networking: list[str] = (), **more: Any) -> str:  # type: ignore[assignment]
        settings = more.pop("settings", {})
        container = self.engine.create_container(
            image,
            host_config=self.engine.create_host_config(
                network_mode=self.name, read_only=True, tmpfs={"/tmp": "mode=1777"}, cap_drop=["ALL"], **settings
            ),
            networking_config=self.engine.create_networking_config(
                {self.name: self.engine.create_endpoint_config(aliases=networking or None)}
            ),
            user="993:990",
            **more,
        )["Id"]
        self._containers.append(container)
        return str(container)

    def measure(self, row: Row, calls: int) -> None:
        """One container from its start: INIT as the emulator reports it, then ``calls`` warm requests."""
        variables = {
            "AWS_ENDPOINT_URL": "http://table:8000", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x", "TABLE_NAME": "transaction-state-dev", "POWERTOOLS_SERVICE_NAME": row.name,
            "POWERTOOLS_METRICS_NAMESPACE": "Bench", "AWS_LAMBDA_FUNCTION_NAME": row.name,
        }  # fmt: skip
        settings = {"port_bindings": {8080: ("127.0.0.1",)}, "mem_limit": f"{row.memory}m"}
        container = self._create(row.image, ports=[8080], environment=variables, settings=settings)
        self.engine.start(container)
        port = int(self.engine.port(container, 8080)[0]["HostPort"])
        body = json.dumps(_PAYLOAD)
        connection = connect(port)
        request(connection, body)  # INIT and the first invocation
        times = [request(connection, body) for _ in range(calls)]
        connection.close()
        found = _INIT.search(self.engine.logs(container))
        if found is None:
            raise SystemExit(f"error: the emulator of {row.name} reported no INIT; its base has another emulator")
        row.init.append(float(found[1]))
        row.warm += times[len(times) // 5 :]
        self._remove(container)

    def _remove(self, container: str) -> None:
        self.engine.remove_container(container, force=True)
        self._containers.remove(container)

    def close(self) -> None:
        for container in list(self._containers):
            self._remove(container)
        self.engine.remove_network(self.name)


def measure(engine: Any, rows: list[Row], rounds: int, calls: int) -> None:
    lab = Lab(engine, rows[0].image)
    try:
        for _ in range(rounds):
            for row in rows:
                lab.measure(row, calls)
    finally:
        lab.close()


def connect(port: int) -> http.client.HTTPConnection:
    """A connection to an emulator that listens."""
    until = time.monotonic() + 20
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            connection.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return connection


def request(connection: http.client.HTTPConnection, body: str) -> float:
    """Milliseconds of one invocation, which must not be an error."""
    started = time.perf_counter()
    connection.request("POST", PATH, body)
    answer = connection.getresponse().read()
    seconds = time.perf_counter() - started
    if b'"errorType"' in answer:
        raise SystemExit(f"error: the function failed: {answer.decode()}")
    return seconds * 1000


def print_table(rows: list[Row]) -> list[str]:
    """Print the medians; gives the goals that were missed."""
    missed = []
    for byte_code in (False, True):
        those = [row for row in rows if row.byte_code is byte_code]
        empty = next(row for row in those if row.name == EMPTY)
        base_init, base_warm = statistics.median(empty.init), statistics.median(empty.warm)
        title = "byte_code = true" if byte_code else "as it is by default"
        print(f"{title:24}{'INIT':>12}{'ratio':>8}{'goal':>7}{'warm p50':>13}{'more':>11}{'goal':>9}")
        for row in those:
            init, warm = statistics.median(row.init), statistics.median(row.warm)
            goal = GOALS.get(row.name) if byte_code else None
            limit = f"{goal:.0f}x" if goal else ""
            most = f"{WARM_GOAL_MS:.0f} ms" if row.name in GOALS else ""
            print(
                f"{row.name:24}{init:9.1f} ms{init / base_init:7.1f}x{limit:>7}"
                f"{warm:10.2f} ms{warm - base_warm:8.2f} ms{most:>9}"
            )
            if goal and init / base_init > goal:
                missed.append(f"INIT of {row.name}")
            if most and warm - base_warm > WARM_GOAL_MS:
                missed.append(f"warm p50 of {row.name}, {title}")
        print()
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description="INIT and warm time of each function in its container.")
    parser.add_argument("--base", required=True, help="the base image, with the Runtime Interface Emulator")
    parser.add_argument("--python", default="3.13", help="the base's Python (3.13)")
    parser.add_argument("--rounds", type=int, default=10, help="containers of each function (10)")
    parser.add_argument("--calls", type=int, default=200, help="warm requests in each (200)")
    parser.add_argument("--check", action="store_true", help="exit 1 when a goal is missed")
    arguments = parser.parse_args()
    engine = connect_engine("nothing was measured", "The process runtime is measured by benchmarks/init_time.py.")
    platform = Platform(host_architecture(), PythonVersion.parse(arguments.python))
    rows = []
    with tempfile.TemporaryDirectory() as work:
        # One after the other: a build replaces the image that an earlier one made of the same function.
        for byte_code in (False, True):
            built = build_rows(engine, arguments.base, platform, Path(work, str(byte_code)), byte_code=byte_code)
            measure(engine, built, arguments.rounds, arguments.calls)
            rows += built
    missed = print_table(rows)
    if missed:
        print(f"over the goal: {', '.join(missed)}")
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
