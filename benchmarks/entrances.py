"""The entrances on the embedded AWS: what HTTP's function adds to a pass-through, and how fast the queue is emptied.

    python -m benchmarks.entrances [http|queue] [--rounds 5] [--seconds 20] [--workers 4] [--messages 20000]

http   behind one HTTP API, in turns, under the load of Locust: the entrance's function, and one that only passes the
       body to StartSyncExecution; Locust is installed in an environment of its own (--cache DIR)
queue  messages of which a fifth are duplicates, out of order; ends when each id is decided, and verifies it
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.measure import ENVIRONMENT, Project, Row, aws_client, embedded_aws, in_turns, machine, print_table, run
from benchmarks.separate import default_cache, install
from pipeline.local.host.control import LocalAws

PASS_THROUGH = """
import os
from botocore.config import Config
from botocore.session import Session

CLIENT = Session().create_client("stepfunctions", config=Config(inject_host_prefix=False))

def handle(event, context):
    result = CLIENT.start_sync_execution(stateMachineArn=os.environ["STATE_MACHINE_ARN"], input=event["body"])
    return {"statusCode": 200, "body": result["output"]}
"""
DEFINITION = """
handler = "handler.handle"
vpc = false
timeout = 29

[[calls]]
service = "stepfunctions"
actions = ["StartSyncExecution"]
resource = "state-machine"

[[events]]
type = "http"
route = "POST /pass-through"
"""
# Two batches of the queue at a time, which two cores carry; the functions' reservations are no limit.
SETTINGS = """
[project]
workflow = "transactions"

[defaults]
entrances = ["http", "queue"]
transactions_per_minute = 600
reserved_concurrency = 100
"""
DUPLICATES = 0.2
LOCUST_VERSION = "2.47.0"
# Runs in Locust's environment.
CALLER = Path(__file__).parent / "locust_files" / "caller.py"
# Seconds without progress after which the queue is given up.
PATIENCE = 600


@dataclass(frozen=True, slots=True)
class Place:
    """A deployed environment: its embedded AWS and the outputs of its pipeline stack."""

    local: LocalAws
    outputs: dict[str, str]

    @classmethod
    def of(cls, local: LocalAws) -> Place:
        name = f"transaction-pipeline-{ENVIRONMENT}"
        [stack] = aws_client(local, "cloudformation").describe_stacks(StackName=name)["Stacks"]
        return cls(local, {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]})


def transaction(identifier: str) -> bytes:
    document = {"transaction_id": identifier, "amount": "10.00", "currency": "USD", "merchant_id": "m-1"}
    return json.dumps({**document, "customer_id": f"customer-of-{identifier}"}).encode()


def load(place: Place, programs: Path, path: str, seconds: int, workers: int) -> tuple[float, Counter[float]]:
    """Transactions a second, and how many took so many milliseconds, as Locust rounds them.

    Raises Failed if one was not approved.
    """
    address = place.outputs["ApiUrl"]
    variables = {
        "AWS_ACCESS_KEY_ID": place.local.access_key_id,
        "AWS_SECRET_ACCESS_KEY": place.local.secret_access_key,
        "AWS_DEFAULT_REGION": place.local.region,
        "LOAD_PATH": urlsplit(address).path + path,
    }
    command: list[str | Path] = [
        programs / "locust", "--locustfile", CALLER, "--headless", "--skip-log", "--json", "--stop-timeout", "60",
        "--host", address.removesuffix(urlsplit(address).path), "--users", str(workers), "--spawn-rate", str(workers),
        "--run-time", str(seconds),
    ]  # fmt: skip
    [found] = json.loads(run(command, folder=CALLER.parent, env=os.environ | variables).output)
    times = Counter({float(milliseconds): count for milliseconds, count in found["response_times"].items()})
    return found["num_requests"] / (found["last_request_timestamp"] - found["start_time"]), times


def measure_http(place: Place, programs: Path, rounds: int, seconds: int, workers: int) -> bool:
    paths = {"pass-through": "/pass-through", "entrance": "/transactions"}
    for path in paths.values():  # processes, connections and byte code
        load(place, programs, path, 5, workers)
    sides = {name: partial(load, place, programs, path, seconds, workers) for name, path in paths.items()}
    found = in_turns(rounds, sides)
    # At least 0.8 of the pass-through's rate.
    times = {name: [1 / rate for rate, _ in each] for name, each in found.items()}
    met = print_table(
        "HTTP", ("pass-through", "entrance"),
        [Row("a transaction", times["pass-through"], times["entrance"], 1.25, ours_over_theirs=True)],
    )  # fmt: skip
    for name, each in found.items():
        every = sorted(sum((times for _, times in each), Counter[float]()).elements())
        p50, p99 = statistics.median(every), statistics.quantiles(every, n=100)[98]
        print(f"{name:<14} {len(every):,} requests, p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    return met


def measure_queue(place: Place, messages: int) -> bool:
    """Send the messages, wait until the queue is empty, and count decisions."""
    sqs, url = aws_client(place.local, "sqs"), place.outputs["QueueEntranceQueueUrl"]
    mark, distinct = uuid.uuid4().hex[:8], round(messages * (1 - DUPLICATES))
    chance = random.Random(messages)
    identifiers = [f"{mark}-{number}" for number in range(distinct)]
    identifiers += chance.choices(identifiers, k=messages - distinct)
    chance.shuffle(identifiers)
    started = time.perf_counter()
    for first in range(0, messages, 10):
        batch = enumerate(identifiers[first : first + 10])
        entries = [{"Id": str(number), "MessageBody": transaction(each).decode()} for number, each in batch]
        assert not sqs.send_message_batch(QueueUrl=url, Entries=entries).get("Failed")
    sent = time.perf_counter() - started
    left, moved = messages, time.monotonic()
    while left:
        time.sleep(0.5)
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        now = sum(int(attributes[name]) for name in names)
        left, moved = (now, time.monotonic()) if now != left else (left, moved)
        if time.monotonic() - moved > PATIENCE:
            print(f"{left} messages are left and have not moved for {PATIENCE} s")
            return False
    seconds = time.perf_counter() - started
    statuses = count_records(place, mark)
    parked = parked_messages(place)
    print(f"{messages:,} messages, {distinct:,} ids: sent in {sent:.0f} s, done after {seconds:.0f} s", end=", ")
    print(f"{messages / seconds:.0f} a second")
    print(f"decided {statuses.get('DECIDED', 0):,}, claimed {statuses.get('CLAIMED', 0):,}, parked messages {parked:,}")
    return statuses == {"DECIDED": distinct}


def count_records(place: Place, mark: str) -> dict[str, int]:
    """Records of this run by status."""
    pages = aws_client(place.local, "dynamodb").get_paginator("scan").paginate(
        TableName=place.outputs["StateTableName"], FilterExpression="begins_with(transaction_id, :mark)",
        ExpressionAttributeValues={":mark": {"S": mark}},
    )  # fmt: skip
    found: dict[str, int] = {}
    for page in pages:
        for item in page["Items"]:
            status = item["status"]["S"]
            found[status] = found.get(status, 0) + 1
    return found


def parked_messages(place: Place) -> int:
    attributes = aws_client(place.local, "sqs").get_queue_attributes(
        QueueUrl=place.outputs["DeadLetterQueueUrl"], AttributeNames=["ApproximateNumberOfMessages"]
    )["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"])


def main() -> int:
    parser = argparse.ArgumentParser(description="The entrances http and queue.")
    parser.add_argument("part", nargs="?", choices=["http", "queue"], help="only this one")
    parser.add_argument("--rounds", type=int, default=5, help="of each side (5)")
    parser.add_argument("--seconds", type=int, default=20, help="of a round (20)")
    parser.add_argument("--workers", type=int, default=4, help="concurrent requests (4)")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where Locust is installed (%(default)s)")
    parser.add_argument("--messages", type=int, default=20_000, help="in the queue (20,000)")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    met = True
    if arguments.part != "queue":
        programs = install(arguments.cache, f"locust-{LOCUST_VERSION}", f"locust=={LOCUST_VERSION}", "botocore")
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        project = Project(folder / "project", folder / "local")
        (project.folder / "environments.toml").write_text(SETTINGS)
        other = project.folder / "images" / "pass-through"
        other.mkdir()
        (other / "handler.py").write_text(PASS_THROUGH)
        (other / "function.toml").write_text(DEFINITION)
        shutil.copy(project.folder / "images" / "http-entrance" / "requirements.txt", other)
        project.commit()
        project.warm_up()
        with embedded_aws(folder / "local") as local:
            project.bootstrap("up", "--no-smoke")
            place = Place.of(local)
            if arguments.part != "queue":
                met = measure_http(place, programs, arguments.rounds, arguments.seconds, arguments.workers)
            if arguments.part != "http":
                met = measure_queue(place, arguments.messages) and met
    print(machine())
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
