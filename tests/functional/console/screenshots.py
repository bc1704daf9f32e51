"""Screenshots of the console's five views, light and dark, for the documentation.

    python -m tests.functional.console.screenshots [FOLDER]

Deploys this project on an embedded AWS of its own, submits transactions, lets some be parked by a function that may not
run, and releases a second time. Needs Chromium.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.soak_model import make_lines
from cfn.names import Names
from pipeline.local.host.control import find_local
from pipeline.target import local_target
from tests.functional.browser import Page, driven_browser
from tests.functional.command_line import ROOT

FOLDER = ROOT / "docs" / "pictures"
PARTS = ("bootstrap.py", "environments.toml", "commands", "cfn", "pipeline", "images")
VIEWS = {"pipeline": "/", "parked": "/parked", "releases": "/releases?proof=2", "try": "/try"}
WIDTH = 1000
EXAMPLE = {
    "transaction_id": "txn-1042",
    "amount": "129.90",
    "currency": "EUR",
    "merchant_id": "m-7",
    "customer_id": "c-3",
}


def take(folder: Path) -> None:
    """Write console-<view>.webp and console-<view>-dark.webp into ``folder``."""
    with tempfile.TemporaryDirectory(prefix="screenshots-") as temporary:
        place = Path(temporary)
        # With the program, so that the commands on the pages begin with ./bootstrap.py.
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, place / part)
        variables = os.environ | {"LOGNAME": "ada"}
        make_key = "openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out signing.pem"
        make_key += " && openssl pkey -in signing.pem -pubout -out signing.pub"
        subprocess.run(["bash", "-c", make_key], cwd=place, check=True, capture_output=True)
        with (place / "environments.toml").open("a") as settings:
            settings.write('\n[environments.dev]\nsigning_key = "signing.pem"\nverification_key = "signing.pub"\n')

        def run(*arguments: str) -> None:
            command = [sys.executable, "bootstrap.py", *arguments, "--json"]
            subprocess.run(command, cwd=place, env=variables, stdout=subprocess.DEVNULL, check=False)

        try:
            run("up")
            _fill(place, run)
            console = subprocess.Popen(
                [sys.executable, "bootstrap.py", "console", "--no-browser", "--allow-changes"],
                cwd=place, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            try:
                assert console.stderr is not None
                url = console.stderr.readline().strip()
                with driven_browser(place / "browser") as browser:
                    _take_views(browser.page().open(url), url.partition("/open")[0], folder)
            finally:
                console.send_signal(signal.SIGINT)
                console.communicate(timeout=20)
        finally:
            run("down", "--yes")


def _fill(place: Path, run: Callable[..., None]) -> None:
    lines = place / "transactions.jsonl"
    lines.write_text("".join(f"{line.text}\n" for line in make_lines(80, 3)))
    run("submit", "--file", str(lines))
    run("submit", json.dumps(EXAMPLE))
    local = find_local(place / ".local")
    assert local is not None, "the embedded AWS does not run"
    functions, name = local_target(local, None).client("lambda"), Names("dev").function("fraud-detection")
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    for number in range(3):
        run("submit", json.dumps(EXAMPLE | {"transaction_id": f"txn-20{number}"}))
    functions.delete_function_concurrency(FunctionName=name)
    handler = place / "images" / "fraud-detection" / "handler.py"
    handler.write_text(f"{handler.read_text()}\n# The second release.\n")
    run("up")


def _take_views(page: Page, base: str, folder: Path) -> None:
    views = VIEWS | {"transaction": f"/transaction?id={EXAMPLE['transaction_id']}"}
    for view, path in views.items():
        for dark in (False, True):
            page.show(width=WIDTH, dark=dark)
            page.open(f"{base}{path}")
            page.wait("!document.body.innerText.includes('doctor is still looking')")
            page.screenshot(folder / f"console-{view}{'-dark' if dark else ''}.webp")


if __name__ == "__main__":
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
