"""The console as a process, in a real browser, about a workflow on the embedded AWS that fails on command."""

from __future__ import annotations

import importlib.resources
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.transactions.submit import Parked
from tests.functional.browser import Browser, Page, driven_browser
from tests.functional.console.served import Served, console_of
from tests.functional.workflow_lab import Lab, end, running_lab

VIEWS = ("/", "/transaction", "/parked", "/releases", "/try")
# What a sender may write into a field, and a page must show as text.
HOSTILE = '<img src=x onerror="window.hit=1">\'{{7*7}}</script><script>window.hit=1</script>'
VALIDATION_LOG = "transaction-validation-lab"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("console lab")) as started:
        started.deploy(stack_name="transaction-pipeline-lab", patience_seconds=1)
        logs = started.client("logs")
        logs.create_log_group(logGroupName=VALIDATION_LOG)
        logs.create_log_stream(logGroupName=VALIDATION_LOG, logStreamName="s")
        yield started


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with driven_browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[Served]:
    with console_of(lab, "--allow-changes") as started:
        yield started


@pytest.fixture(autouse=True)
def nothing_parked(lab: Lab) -> None:
    lab.client("sqs").purge_queue(QueueUrl=lab.outputs["QueueUrl"])


@pytest.fixture(scope="module")
def page(served: Served, browser: Browser) -> Page:
    return served.enter(browser)


def transaction(identifier: str, **more: Any) -> dict[str, Any]:
    return {"transaction_id": identifier, "amount": "10.00", "currency": "USD", "customer_id": "c-1", **more}


def park(lab: Lab, document: dict[str, Any], error: str = "Boom") -> None:
    lab.faults(lab.fault("Validate", error=error))
    with pytest.raises(Parked):
        lab.submit(document)
    lab.faults()


def log(lab: Lab, *lines: Any) -> None:
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": each if isinstance(each, str) else json.dumps(each)} for each in lines]
    lab.client("logs").put_log_events(logGroupName=VALIDATION_LOG, logStreamName="s", logEvents=events)


def test_the_address_works_once(lab: Lab, browser: Browser) -> None:
    with console_of(lab) as other:
        page = other.enter(browser)
        assert "read only" in page.text("header")
        stranger = browser.page().open(other.url)
        assert "used already" in stranger.text()
        assert "works once" in stranger.open(other.base + "/").text()
        for path in ("/parked/redrive", "/releases/rollback?to=1"):
            assert "only reads" in page.open(other.base + path).text("[role=alert]")
        script = "fetch('/try', {method: 'POST', body: new URLSearchParams({transaction: '{}'})}).then(it => it.status)"
        assert page.run(script) == 403
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(other.base, timeout=10)


@pytest.mark.at_length
def test_two_consoles_in_one_browser(served: Served, page: Page, lab: Lab, browser: Browser) -> None:
    with console_of(lab) as other:
        second = page.another()
        second.open(other.url).wait("document.querySelector('h1')?.innerText === 'Pipeline'")
        for each, base in ((second, other.base), (page, served.base)):
            assert each.open(f"{base}/parked").text("h1") == "Parked"


def test_the_pipeline_is_live(served: Served, page: Page, lab: Lab) -> None:
    page.open(served.base + "/")
    lab.submit(transaction("live-1", score=60))
    park(lab, transaction("live-2"))
    log(
        lab,
        {"message": "transaction is valid", "transaction_id": "live-1"},
        {"message": "transaction is valid", "transaction_id": "live-2"},
        "REPORT RequestId: 1\tDuration: 12.00 ms\tBilled Duration: 12 ms\tMemory Size: 99 MB\tMax Memory Used: 33 MB\t"
        "Init Duration: 71.00 ms\t",
    )
    page.wait("document.body.innerText.includes('live-2')")
    text = page.text("main")
    assert "REVIEW" in text
    assert "About 1 parked" in text
    assert "Validate: Boom" in text
    [row] = [line for line in text.splitlines() if line.startswith("transaction-validation")]
    for part in ("33 MB of", "71 ms", "12 ms"):
        assert part in row
    assert page.run("[...document.querySelectorAll('.machine .note')].some(each => each.textContent === '2')")
    page.wait("document.body.innerText.includes('Needs attention')")


def test_one_transaction(served: Served, page: Page, lab: Lab) -> None:
    lab.submit(transaction("one-1", score=60))
    page.open(served.base + "/transaction")
    page.fill("#id", "one-1")
    page.click("form button")
    text = page.text("main")
    for part in ("REVIEW", "fraud-detection/told score 60", "sha256:fraud-detection", "received", "explain"):
        assert part in text
    assert page.run("document.querySelectorAll('.machine .way').length") == 15
    page.open(served.base + "/transaction")
    page.fill("#customer", "c-1")
    page.click("form button")
    assert "one-1" in page.text("table")


@pytest.mark.parametrize("path", ["/transaction?id=nothing", "/changes/99", "/no/such/page", "/releases/rollback?to=x"])
def test_what_is_not_there(served: Served, page: Page, path: str) -> None:
    assert page.open(served.base + path).text("[role=alert]")
    assert page.run("performance.getEntriesByType('navigation')[0].responseStatus") in (400, 404)


def test_parked_is_listed_filtered_and_redriven(served: Served, page: Page, lab: Lab) -> None:
    park(lab, transaction("parked-1"), "PlaceholderImage")
    park(lab, transaction("parked-2"))
    rows = "document.querySelectorAll('tbody tr').length"
    assert page.open(served.base + "/parked").run(rows) == 2
    page.fill("#filter", "placeholder")
    page.click("form button")
    assert (page.run(rows), page.text("tbody a")) == (1, "parked-1")
    page.click("tbody a.button")
    assert "redrive --environment lab --id=parked-1" in page.text("pre")
    page.click("main button")
    page.wait("document.querySelector('.badge.good')?.innerText === 'done'")
    assert "parked-1  APPROVED" in page.text("main")
    assert [each["input"]["transaction_id"] for each in lab.parked()] == ["parked-2"]
    page.open(served.base + "/parked")
    page.click("main > p a.button")
    page.click("main button")
    page.wait("document.querySelector('.badge.good')?.innerText === 'done'")
    assert "Nothing is parked" in page.open(served.base + "/parked").text("main")


def test_try_one(served: Served, page: Page, lab: Lab) -> None:
    page.open(served.base + "/try")
    assert '"transaction_id": "test-123"' in page.run("document.querySelector('textarea').value")
    page.click("main button")
    text = page.text("main")
    assert "test-123  APPROVED" in text
    assert "submit --environment lab" in text
    assert page.run("document.querySelectorAll('.machine path.on').length") > 5
    page.fill("textarea", "-")  # which is standard input for the command
    page.click("main button")
    assert "it is not JSON" in page.text("[role=alert]")


def test_try_a_file(served: Served, page: Page, lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps(transaction(f"file-{number}")) + "\n" for number in range(20)) + "not json\n")
    page.open(served.base + "/try")
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])
    page.click("form[enctype] button")
    page.wait("document.querySelector('.badge.bad')?.innerText === 'failed'")
    text = page.text("main")
    for part in ("APPROVED 20", "malformed 1", "21 of 21", "line 21: malformed", "submit --environment lab --file"):
        assert part in text
    assert lab.record("file-19") is not None


def test_hostile_text_is_text(served: Served, page: Page, lab: Lab) -> None:
    message = {"execution": HOSTILE, "state": HOSTILE, "error": HOSTILE, "cause": HOSTILE, "parked_at": HOSTILE,
               "input": {"transaction_id": HOSTILE}}  # fmt: skip
    lab.client("sqs").send_message(QueueUrl=lab.outputs["QueueUrl"], MessageBody=json.dumps(message))
    hostile = {name: {"S": HOSTILE} for name in ("transaction_id", "status", "execution", "parked_error")}
    record = {**hostile, "received_at": {"S": "2026-01-01T00:00:00Z"}, "customer_id": {"S": HOSTILE}}
    lab.client("dynamodb").put_item(TableName=lab.names.table, Item=record)
    log(lab, {"transaction_id": HOSTILE})
    query = urllib.parse.quote(HOSTILE)
    for path in (f"/transaction?id={query}", f"/transaction?customer={query}", f"/parked?filter={query}", "/parked",
                 f"/parked/redrive?id={query}", f"/releases?from={query}&to={query}"):  # fmt: skip
        page.open(served.base + path)
        if "releases" not in path:
            fields = "[...document.querySelectorAll('input')].map(each => each.value).join()"
            assert HOSTILE in page.text() + page.run(fields), path
        assert page.run("window.hit ?? document.querySelectorAll('img, main script').length") == 0, path
    page.open(served.base + "/")
    page.wait(f"document.body.innerText.includes({json.dumps(HOSTILE)})")
    assert page.run("window.hit ?? document.querySelectorAll('img, main script').length") == 0
    page.open(served.base + "/try")
    page.fill("textarea", json.dumps({"transaction_id": HOSTILE, "more": "</textarea><script>window.hit=1</script>"}))
    page.click("main button")
    assert page.run("window.hit ?? document.querySelectorAll('img, main script').length") == 0
    assert page.complaints() == []


def test_reading_works_without_scripts(served: Served, page: Page, lab: Lab) -> None:
    lab.submit(transaction("plain-1", score=60))
    plain = page.another()
    plain.without_scripts()
    for path in VIEWS:
        assert plain.open(served.base + path).text("h1"), path
    assert "REVIEW" in plain.open(f"{served.base}/transaction?id=plain-1").text("h1")
    park(lab, transaction("plain-2"))
    plain.open(f"{served.base}/parked/redrive?id=plain-2").click("main button")
    plain.wait("document.body.innerText.includes('plain-2  APPROVED')")  # after a reload by itself


def test_the_keyboard_reaches_everything(served: Served, page: Page) -> None:
    page.open(served.base + "/try").run("document.body.focus()")
    reached = []
    for _ in range(14):
        page.press("Tab", 9)
        reached.append(page.run("document.activeElement.innerText?.split('\\n')[0] || document.activeElement.id"))
    assert reached[:6] == ["Skip to content", "Pipeline", "Transaction", "Parked", "Releases", "Try it"]
    assert {"transaction", "Submit", "file", "Submit the file"} <= set(reached)


@pytest.mark.parametrize(
    ("width", "dark"),
    [
        pytest.param(360, False, id="narrow light"),
        pytest.param(1200, True, id="wide dark", marks=pytest.mark.at_length),
    ],
)
def test_axe_finds_nothing(served: Served, page: Page, lab: Lab, width: int, dark: bool) -> None:
    lab.submit(transaction("axe-1", score=60))
    park(lab, transaction("axe-2"))
    axe = importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text()
    page.show(width=width, dark=dark)
    for path in (*VIEWS, "/transaction?id=axe-1", "/parked/redrive?id=axe-2", "/transaction?id=nothing"):
        page.open(served.base + path)
        page.run(axe + "; 1")
        found = page.run("axe.run().then(found => found.violations.map(each => [each.id, each.nodes[0].html]))")
        assert found == [], path
        assert page.run("document.documentElement.scrollWidth") <= width, path


def test_another_site_changes_nothing(served: Served, page: Page, lab: Lab) -> None:
    """A page of another port of the console's own address, where the browser sends the cookie, posts a form."""
    park(lab, transaction("cross-1"))
    with ThreadingHTTPServer((served.base.split("/")[2].partition(":")[0], 0), Empty) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        other = page.another().open(f"http://{server.server_address[0]}:{server.server_port}/")
        other.run(
            "const form = Object.assign(document.createElement('form'), {method: 'POST',"
            f" action: {json.dumps(served.base + '/parked/redrive')}}}); document.body.append(form); form.submit()"
        )
        other.wait(f"location.href.startsWith({json.dumps(served.base)})")
        server.shutdown()
    assert "other sites have no access" in other.text()
    assert [each["input"]["transaction_id"] for each in lab.parked()] == ["cross-1"]


class Empty(BaseHTTPRequestHandler):
    """Serves an empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><body></body>")

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.mark.at_length
def test_an_embedded_aws_that_stops(tmp_path: Path, browser: Browser) -> None:
    with running_lab(tmp_path / "lab") as own:
        own.deploy(stack_name="transaction-pipeline-lab")
        with console_of(own, "--allow-changes") as other:
            page = other.enter(browser)
            own.client("sqs").get_queue_attributes(QueueUrl=own.outputs["QueueUrl"])
            end(own.process)
            page.wait("document.querySelector('[role=alert]')?.innerText.includes('does not answer')")
            assert "bootstrap.py up" in page.text("[role=alert]")
            for path in ("/transaction?id=x", "/parked", "/releases"):
                assert "does not answer" in page.open(other.base + path).text("[role=alert]"), path
            page.open(other.base + "/try")
            page.click("main button")
            assert "not answer" in page.text("main")
