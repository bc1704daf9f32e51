"""The console with many transactions in the table: how long its pages take, and what an open live page costs.

    make bench ARGS="console"

The embedded AWS runs the workflow of the tests, with 100,000 records written into its table. Each page is asked for
again and again through the console itself, as a process of its own; then the CPU time of the embedded AWS is compared
with and without a live page.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.functional.command_line import ROOT
from tests.functional.workflow_lab import ACCESS, Lab, running_lab

VIEWS = ("/", "/transaction?id=t-500", "/transaction?customer=c-5", "/parked", "/releases", "/try")
CUSTOMERS = 1_000
LOG = "transaction-validation-lab"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.console", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=30, help="for which a live page is watched")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, running_lab(Path(folder)) as lab:
        lab.deploy(stack_name="transaction-pipeline-lab")
        fill(lab, chosen.records)
        with console(lab) as (connection, cookie, processes):
            for path in VIEWS:
                ask(connection, cookie, path)  # makes the clients
                before = sum(map(used, processes))
                times = [ask(connection, cookie, path) for _ in range(chosen.rounds)]
                cpu = 1000 * (sum(map(used, processes)) - before) / chosen.rounds
                print(f"{path:<28} median {statistics.median(times):6.1f} ms   CPU of both processes {cpu:6.1f} ms")
            for label, page in (("without a page", quiet()), ("with a live page", live(connection, cookie))):
                with page:
                    share = cpu_share(lab, chosen.seconds)
                print(f"{label:<30} the embedded AWS uses {100 * share:.1f} % of a core")


def cpu_share(lab: Lab, seconds: float) -> float:
    """How much of a core the embedded AWS uses. It has one thread that matters, so that is lost to transactions."""
    assert lab.process is not None
    time.sleep(2)
    before, started = used(lab.process.pid), time.monotonic()
    time.sleep(seconds)
    return (used(lab.process.pid) - before) / (time.monotonic() - started)


def used(process: int) -> float:
    """Seconds of CPU time that a process has used: user and system (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(lab: Lab, count: int) -> None:
    """Write records of decided transactions."""
    client, answer = lab.client("dynamodb"), json.dumps({"outcome": "APPROVED", "reasons": []})
    logs = lab.client("logs")
    logs.create_log_group(logGroupName=LOG)
    logs.create_log_stream(logGroupName=LOG, logStreamName="s")

    def write(first: int) -> None:
        items = [
            {
                "transaction_id": {"S": f"t-{number}"}, "customer_id": {"S": f"c-{number % CUSTOMERS}"},
                "status": {"S": "DECIDED"}, "outcome": {"S": "APPROVED"}, "answer": {"S": answer},
                "execution": {"S": f"e-{number}"}, "received_at": {"S": "2026-01-01T00:00:00.000Z"},
                "decided_at": {"S": "2026-01-01T00:00:00.100Z"},
            }
            for number in range(first, min(first + 25, count))
        ]  # fmt: skip
        client.batch_write_item(RequestItems={lab.names.table: [{"PutRequest": {"Item": item}} for item in items]})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(0, count, 25)))
    now = int(time.time() * 1000)
    lines = [{"message": "transaction is valid", "transaction_id": f"t-{number}"} for number in range(1_000)]
    events = [{"timestamp": now, "message": json.dumps(line)} for line in lines]
    logs.put_log_events(logGroupName=LOG, logStreamName="s", logEvents=events)


@contextmanager
def console(lab: Lab) -> Iterator[tuple[http.client.HTTPConnection, str, tuple[int, int]]]:
    """A console about the lab: a connection, a cookie, and the processes of both."""
    variables = {
        "TRANSACTION_PIPELINE_ENDPOINT": lab.endpoint,
        "TRANSACTION_PIPELINE_ACCESS_KEY_ID": ACCESS.root.access_key_id,
        "TRANSACTION_PIPELINE_SECRET_ACCESS_KEY": ACCESS.root.secret_access_key,
    }
    process = subprocess.Popen(
        [sys.executable, "bootstrap.py", "console", "--environment", "lab", "--no-browser"],
        cwd=ROOT, env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        url = urlsplit(process.stderr.readline().strip())
        connection = http.client.HTTPConnection(url.netloc, timeout=30)
        connection.request("GET", f"{url.path}?{url.query}")
        answer = connection.getresponse()
        answer.read()
        assert lab.process is not None
        yield connection, answer.headers["Set-Cookie"].partition(";")[0], (process.pid, lab.process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def ask(connection: http.client.HTTPConnection, cookie: str, path: str) -> float:
    """Milliseconds of one page. The first waits until what pages share for a moment has expired."""
    time.sleep(0.1)
    started = time.monotonic()
    connection.request("GET", path, headers={"Cookie": cookie})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body.decode()
    return 1000 * (time.monotonic() - started)


@contextmanager
def live(connection: http.client.HTTPConnection, cookie: str) -> Iterator[None]:
    """A page that is kept up to date meanwhile."""
    stream = http.client.HTTPConnection(connection.host, connection.port, timeout=30)
    stream.request("GET", "/live/pipeline", headers={"Cookie": cookie})
    answer = stream.getresponse()
    over = threading.Event()

    def read() -> None:
        while not over.is_set() and answer.readline():
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join(10)
        stream.close()


@contextmanager
def quiet() -> Iterator[None]:
    yield


if __name__ == "__main__":
    main()
