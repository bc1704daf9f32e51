#!/usr/bin/env python3
"""Time from saving a file until an invocation is answered by the new code, on a new embedded AWS.

    .venv/bin/python benchmarks/watch.py [--rounds 10] [--function compliance-checking] [--json]

`watch` runs as usual. Each round saves the function's handler with a new value in its answer, and invokes the alias
`live` repeatedly until the value is returned. The steps are those that `watch` reports.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.session import Session

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("bootstrap.py", "environments.toml", "commands", "cfn", "pipeline", "images")
STEPS = ("seen", "check", "build", "push", "switch", "verify", "total")
EVENT = {
    "transaction": {
        "transaction_id": "watched-1", "amount": "100.00", "currency": "USD", "merchant_id": "m", "customer_id": "c"
    },
    "received_at": "2026-11-23T14:00:00.000Z",
}  # fmt: skip
PAUSE = 0.6


def measure(folder: Path, function: str, rounds: int) -> tuple[list[float], list[dict[str, float]]]:
    """Seconds from each save to its answer, and of each step that ``watch`` reported."""
    project = folder / "project"
    project.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, project / part)
    environment = os.environ | {
        "TRANSACTION_PIPELINE_LOCAL": str(folder / "local"),
        "TRANSACTION_PIPELINE_CACHE": str(folder / "cache"),
    }
    command = [sys.executable, str(project / "bootstrap.py")]
    process = subprocess.Popen(
        [*command, "watch", "--json"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        if not any("watching images/" in line for line in process.stderr):
            raise SystemExit("watch did not come up")
        client = lambda_client(folder / "local")
        handler = project / "images" / function / "handler.py"
        original = handler.read_text()
        start = original.index("\nhandle = lambda_handler(")
        answered = []
        for number in range(rounds + 1):
            body = f"\n\ndef tagging(invocation):\n    return {{**judge(invocation), 'tag': {number}}}\n\n\n"
            text = f"{original[:start]}{body}handle = lambda_handler(tagging)\n"
            answered.append(save_until_answered(client, handler, text, f"{function}-dev", number))
            time.sleep(PAUSE)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
        releases = json.loads(out)["releases"]
        # The first makes connections that stay.
        return answered[1:], [each["seconds"] for each in releases][1:]
    finally:
        process.kill()
        process.wait()
        subprocess.run([*command, "down", "--yes"], cwd=project, env=environment, capture_output=True, check=False)


def lambda_client(local: Path) -> Any:
    state = json.loads((local / "local.json").read_text())
    session = Session()
    session.set_credentials(state["access_key_id"], state["secret_access_key"])
    return session.create_client(
        "lambda", region_name=state["region"], endpoint_url=state["endpoint"],
        config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip


def save_until_answered(client: Any, file: Path, text: str, function: str, tag: int) -> float:
    """Save, then ask until the new code answers; seconds."""
    file.write_text(text)
    started = time.perf_counter()
    while time.perf_counter() - started < 60:
        answer = client.invoke(FunctionName=function, Qualifier="live", Payload=json.dumps(EVENT))
        if json.loads(answer["Payload"].read()).get("tag") == tag:
            return time.perf_counter() - started
        time.sleep(0.02)
    raise SystemExit(f"{function} did not answer with its new code within a minute")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--function", default="compliance-checking")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="watch-benchmark-") as folder:
        answered, releases = measure(Path(folder), chosen.function, chosen.rounds)
    median = {step: statistics.median(each[step] for each in releases) for step in STEPS}
    result = {
        "function": chosen.function,
        "rounds": chosen.rounds,
        "save_to_answer": {
            "median": round(statistics.median(answered), 3),
            "best": round(min(answered), 3),
            "worst": round(max(answered), 3),
        },
        "steps_median": {step: round(seconds, 3) for step, seconds in median.items()},
        "load": os.getloadavg()[0],
    }
    if chosen.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{chosen.function}, {chosen.rounds} saves, seconds (load of this machine {os.getloadavg()[0]:.1f})")
    for step, seconds in median.items():
        name = "live (sum)" if step == "total" else step
        print(f"  {name:<28}{seconds:>8.3f}   median")
    for name, seconds in result["save_to_answer"].items():
        print(f"  {'save to new answer':<28}{seconds:>8.3f}   {name}")


if __name__ == "__main__":
    main()
