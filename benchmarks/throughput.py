"""Transactions per second through the whole pipeline, compared with the emulator's maximum.

    python -m benchmarks.throughput [--rounds 5] [--transactions 400] [--workers 16] [--check]

Both sides run alternately on one emulator, through the same state machine, from the same client, with the same
transactions. They differ in the functions:

- pass-through  a server that answers every invocation with a constant, reached through the emulator's proxy: no image,
                no worker process, no rules, no customer history
- pipeline      the three functions as released: images, Runtime API, rules, one Query

The goal is 0.8: functions and runtime may cost a fifth of the emulator's maximum. ``--check`` exits 1 if it is missed.
What the emulator's process, the runtime and the functions use of the processor is shown too: the emulator is one Python
process, so a transaction can never take less than its share there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Also when it is run by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import ROOT, Row, embedded_aws, in_turns, machine, print_table
from cfn.names import Names
from cfn.workflow.limits import COMPLIANCE, FRAUD, VALIDATION
from pipeline.local.host.control import LocalAws
from pipeline.local.processes import children
from pipeline.target import local_target
from pipeline.transactions.submissions import submit_file
from tests.functional.workflow_lab import lab_template

GOAL = 0.8
PASS_THROUGH = "passthrough"
_TICKS = os.sysconf("SC_CLK_TCK")


def answers() -> dict[str, dict[str, Any]]:
    """What the pass-through functions answer: an approval, as the real ones word it."""
    judge = {"image": "sha256:0", "rules": "2026-11-01"}
    canonical = {**transaction("t", "c"), "amount_minor": 1000}
    return {
        VALIDATION: {"valid": True, "transaction": canonical, "faults": [], **judge},
        FRAUD: {"score": 0, "reasons": [], **judge},
        COMPLIANCE: {"compliant": True, "findings": [], **judge},
    }


def transaction(transaction_id: str, customer_id: str) -> dict[str, Any]:
    return {
        "transaction_id": transaction_id, "amount": "10.00", "currency": "USD", "merchant_id": "merchant-001",
        "customer_id": customer_id,
    }  # fmt: skip


# One packet in, one packet out; the path selects the answer. Ends with its standard input.
_SERVER = """
import asyncio, json, sys
answers = json.loads(sys.argv[1])
class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""
    def data_received(self, data):
        self.data += data
        head, found, body = self.data.partition(b"\\r\\n\\r\\n")
        if found and len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\\r\\n")[0]):
            event = json.loads(body)
            answer = answers[head.split()[1].decode().strip("/")]
            if "transaction" in answer:
                answer = {**answer, "transaction": {**answer["transaction"], **event["transaction"]}}
            text = json.dumps(answer).encode()
            self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(text), text))
            self.transport.close()
async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


@contextmanager
def constant_functions() -> Iterator[str]:
    """A server in a separate process, so it does not slow the client; yields its URL."""
    arguments = [sys.executable, "-c", _SERVER, json.dumps(answers())]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()


def deploy_pass_through(target: Any, url: str) -> str:
    """A stack with the same workflow and functions that the emulator itself hands to ``url``; its machine's ARN."""
    names, aws_lambda, cloudformation = Names(PASS_THROUGH), target.client("lambda"), target.client("cloudformation")
    statement = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = target.client("iam").create_role(RoleName=PASS_THROUGH, AssumeRolePolicyDocument=policy)["Role"]
    for name in answers():
        aws_lambda.create_function(
            FunctionName=names.function(name), Runtime="python3.13", Handler="index.handle", Timeout=60,
            Role=role["Arn"], Code={"ZipFile": _empty_archive()},
            Environment={"Variables": {"MINISTACK_LAMBDA_PROXY_URL": f"{url}/{name}"}},
        )  # fmt: skip
    cloudformation.create_stack(
        StackName=PASS_THROUGH,
        TemplateBody=lab_template(PASS_THROUGH).to_json(indent=None),
        Capabilities=["CAPABILITY_IAM"],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=PASS_THROUGH, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    return stack_output(target, PASS_THROUGH)


def _empty_archive() -> bytes:
    import io
    import zipfile

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("index.py", "")
    return content.getvalue()


def stack_output(target: Any, stack: str) -> str:
    [found] = target.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return str({each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}["StateMachineArn"])


@dataclass(frozen=True, slots=True)
class Processor:
    """Seconds of processor that each part has used."""

    emulator: float
    runtime: float
    functions: float

    @classmethod
    def read(cls, local: LocalAws) -> Processor:
        used = {child: _used(child) for child in children(local.pid)}
        emulator = sum(seconds for child, seconds in used.items() if _is_emulator(child))
        return cls(emulator, _used(local.pid), sum(used.values()) - emulator)

    def per(self, before: Processor, count: int) -> dict[str, float]:
        """Milliseconds for each of ``count`` transactions since ``before``."""
        return {
            name: (getattr(self, name) - getattr(before, name)) / count * 1000
            for name in ("emulator", "runtime", "functions")
        }


def _used(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _is_emulator(pid: int) -> bool:
    try:
        return b"--bridge" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@dataclass(slots=True)
class Side:
    """One of the two that are compared: a machine, and what a transaction used of the processor in the last round."""

    local: LocalAws
    machine_arn: str
    folder: Path
    transactions: int
    workers: int
    used: Mapping[str, float] | None = None

    def measure(self) -> float:
        """Answers per second for a file of new transactions."""
        batch = uuid.uuid4().hex[:12]
        path = self.folder / f"{batch}.jsonl"
        path.write_text(
            "".join(json.dumps(transaction(f"{batch}-{n}", f"{batch}-{n}")) + "\n" for n in range(self.transactions))
        )
        target = local_target(self.local, None)
        before = Processor.read(self.local)
        summary = submit_file(target.client("stepfunctions"), self.machine_arn, path, workers=self.workers)
        self.used = Processor.read(self.local).per(before, self.transactions)
        if summary.counts != {"APPROVED": self.transactions}:
            raise SystemExit(f"not every transaction was approved: {summary.counts}")
        return summary.per_second


@dataclass(frozen=True, slots=True)
class Throughput:
    """Answers per second of both sides, round by round, and what a transaction used of the processor (ms)."""

    row: Row
    used: Mapping[str, Mapping[str, float]]


def measure_throughput(
    local: LocalAws, machine_arn: str, folder: Path, *, rounds: int, transactions: int, workers: int
) -> Throughput:
    """Measure both sides alternately on ``local``, where ``machine_arn`` is the pipeline."""
    target = local_target(local, None)
    with constant_functions() as url:
        sides = {
            "pass-through": Side(local, deploy_pass_through(target, url), folder, transactions, workers),
            "pipeline": Side(local, machine_arn, folder, transactions, workers),
        }
        for side in sides.values():  # workers start, and everything is loaded
            Side(local, side.machine_arn, folder, max(1, transactions // 4), workers).measure()
        found = in_turns(rounds, {name: side.measure for name, side in sides.items()})
    row = Row("transactions a second", found["pass-through"], found["pipeline"], ours_over_theirs=True, unit="/s")
    return Throughput(row, {name: side.used or {} for name, side in sides.items()})


def print_throughput(throughput: Throughput) -> bool:
    row = throughput.row
    print_table("throughput", ("pass-through", "pipeline"), [row])
    print(f"ratio {row.ratio:.2f}, goal ≥ {GOAL}")
    print(f"\n{'processor per transaction, ms':32}{'emulator':>10}{'runtime':>10}{'functions':>10}")
    for name, used in throughput.used.items():
        print(f"{name:32}{used['emulator']:10.1f}{used['runtime']:10.1f}{used['functions']:10.1f}")
    return row.ratio >= GOAL


def deploy_pipeline(folder: Path) -> None:
    """``bootstrap.py up`` on the embedded AWS that runs for ``folder``."""
    variables = os.environ | {
        "TRANSACTION_PIPELINE_LOCAL": str(folder),
        "TRANSACTION_PIPELINE_CACHE": os.environ.get("TRANSACTION_PIPELINE_CACHE") or str(folder.parent / "cache"),
    }
    subprocess.run(
        [sys.executable, str(ROOT / "bootstrap.py"), "up"], env=variables, check=True, stdout=subprocess.DEVNULL
    )


def fresh_throughput(*, rounds: int = 5, transactions: int = 400, workers: int = 16) -> Throughput:
    """Both sides on an embedded AWS that was made for this."""
    with (
        tempfile.TemporaryDirectory(prefix="throughput-") as temporary,
        embedded_aws(Path(temporary) / "local") as local,
    ):
        deploy_pipeline(local.folder)
        arn = stack_output(local_target(local, None), Names("dev").pipeline_stack)
        folder = Path(temporary)
        return measure_throughput(local, arn, folder, rounds=rounds, transactions=transactions, workers=workers)


def main() -> int:
    parser = argparse.ArgumentParser(description="Transactions per second, compared with the emulator's maximum.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of both sides (5)")
    parser.add_argument("--transactions", type=int, default=400, help="transactions per round and side (400)")
    parser.add_argument("--workers", type=int, default=16, help="submissions at once (16)")
    parser.add_argument("--check", action="store_true", help="exit 1 when the goal is missed")
    arguments = parser.parse_args()
    found = fresh_throughput(rounds=arguments.rounds, transactions=arguments.transactions, workers=arguments.workers)
    print(machine())
    met = print_throughput(found)
    return 1 if arguments.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
