"""The pages, made of values alone: every field hostile, nothing inline, numbers and times for people."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest

from cfn.workflow.composition import definition
from pipeline.assembly.proof.verification import Proven
from pipeline.console import views
from pipeline.console.flow import Flow
from pipeline.console.function_flow import FunctionFlow, Latency
from pipeline.console.jobs import Job
from pipeline.console.rendering import HERE, VIEWS, VIEWS_OF_FUNCTIONS, Frame, Pages
from pipeline.console.transaction_flow import Recent, TransactionFlow
from pipeline.core.errors import SubmissionError
from pipeline.core.events import Submitted
from pipeline.ledger.releases import Release, ReleaseContent
from pipeline.oci.values import Digest
from pipeline.stacks.stack_events import StackEvent
from pipeline.transactions.explain import Moment, Story
from pipeline.transactions.parked import ParkedMessage
from pipeline.transactions.redrive import Redrive, Redriven, Result

HOSTILE = "</title></script></textarea>\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}\x00\u202e"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PAGES = Pages(Frame(HOSTILE, HOSTILE, read_only=False))
READ_ONLY = Pages(Frame("dev", "local", read_only=True))


def release(number: int, digest: str, **parameters: str) -> Release:
    images = {HOSTILE: Digest.of(digest.encode())}
    content = ReleaseContent(images, Digest.of(b"t"), {HOSTILE: HOSTILE, **parameters})
    return Release(number, content, NOW, HOSTILE, HOSTILE)


def proven(*faults: str) -> Proven:
    definition = {"resolvedDependencies": [{"name": HOSTILE, "digest": {"gitCommit": HOSTILE}}]}
    return Proven(Digest.of(b"a"), faults, {"buildDefinition": definition})


def story() -> Story:
    record = {
        "transaction_id": HOSTILE, "status": HOSTILE, HOSTILE: HOSTILE,
        "answer": json.dumps({"outcome": HOSTILE, "reasons": [dict.fromkeys(("source", "rule", "message"), HOSTILE)]}),
        "judges": json.dumps({HOSTILE: {"image": HOSTILE, "rules": HOSTILE}}),
    }  # fmt: skip
    moments = (Moment(HOSTILE, HOSTILE, HOSTILE),)
    details = {"transaction": HOSTILE, HOSTILE: HOSTILE}
    return Story(HOSTILE, HOSTILE, moments, (HOSTILE, "Read", "Claim"), record, details, (HOSTILE,), definition())


def flow() -> Flow:
    function = FunctionFlow(HOSTILE, HOSTILE, HOSTILE, 3, 1769, 30, 71.2, 12.0, Latency(1.0, 2.0), 1)
    recent = (Recent(HOSTILE, HOSTILE, HOSTILE, 12.3, HOSTILE),)
    transactions = TransactionFlow(10.0, 12.0, recent, {"Read": 1, HOSTILE: 1}, 2)
    return Flow(NOW, (function,), (HOSTILE,), transactions)


def job() -> Job:
    made = Job(1, HOSTILE, HOSTILE, NOW)
    made.counts = Submitted("redrive", 3, 10, 1.0, {HOSTILE: 3})
    made.text = HOSTILE
    made.lines.append(HOSTILE)
    return made


def everything(pages: Pages) -> dict[str, str]:
    """Each page, with hostile text wherever others can write."""
    problem = {"problem": SubmissionError(HOSTILE, HOSTILE, HOSTILE), "next_step": HOSTILE}
    redriven = Redriven(
        ParkedMessage("queue", "h", "i", *[HOSTILE] * 5, input={"transaction_id": HOSTILE}), Result.WAITING
    )
    found = Redrive((redriven,), True, held=1, stopped=problem["problem"], limited=True)
    releases = (release(1, "a"), release(2, "b", other=HOSTILE))
    event = StackEvent("e", HOSTILE, HOSTILE, "", HOSTILE, HOSTILE, "")
    stack = views.StackView(HOSTILE, HOSTILE, HOSTILE, False, (event,))
    recent = (Recent(HOSTILE, HOSTILE, HOSTILE, None),)
    told = story()
    return {
        "pipeline": pages.page(
            "pipeline.html", path="/", flow=flow(), findings=(views.Finding("error", *[HOSTILE] * 3),), examined=True,
            definition=definition(), notes=views.notes_of(flow()),
        ),
        "transaction": pages.page(
            "transaction.html", path="/transaction", query=views.Query(HOSTILE, HOSTILE), story=told, records=recent,
            judges=views.judges_of(told), command=HOSTILE, **problem,
        ),
        "parked": pages.page(
            "parked.html", path="/parked", found=found, messages=[views.ParkedView.of(redriven)], filter=HOSTILE,
            command=HOSTILE,
        ),
        "releases": pages.page(
            "releases.html", path="/releases", stacks=(stack,), releases=views.releases_of(releases),
            difference=views.difference_of(*releases), chosen=(1, 2), images=HOSTILE, command=HOSTILE,
            shown=releases[0],
            proofs=views.proofs_of({HOSTILE: proven(HOSTILE), "sound": proven()}),
        ),
        "try": pages.page(
            "try.html", path="/try", text=HOSTILE, allow=HOSTILE, result=HOSTILE, story=told, command=HOSTILE,
            **problem,
        ),
        "confirm": pages.page(
            "confirm.html", path="/parked", question=HOSTILE, consequence=HOSTILE, action="/parked/redrive",
            fields={"id": HOSTILE}, verb=HOSTILE, command=HOSTILE,
        ),
        "job": pages.page("job.html", path="", job=job(), lines=[HOSTILE], **problem),
        "problem": pages.page("problem.html", path="", **problem),
    }  # fmt: skip


class Elements(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("pages", [PAGES, READ_ONLY], ids=["changes", "read only"])
def test_hostile_text_makes_no_element(pages: Pages) -> None:
    for name, html in everything(pages).items():
        assert "&lt;script&gt;alert(1)" in html, name
        elements = Elements(html).found
        tags = [tag for tag, _ in elements]
        assert not {"img", "style", "iframe", "object", "embed", "base"} & set(tags), name
        [script] = [attributes for tag, attributes in elements if tag == "script"]
        assert script == {"src": "/static/console.js", "defer": None}, name
        for tag, attributes in elements:
            # The content security policy forbids them, so they would do nothing.
            assert not [each for each in attributes if each.startswith("on") or each == "style"], (name, tag)
            for attribute in ("href", "src", "action", "data-live"):
                value = attributes.get(attribute)
                assert value is None or value.startswith(("/", "#")), (name, tag, value)


def test_a_page_of_a_view_says_which() -> None:
    html = everything(PAGES)
    for path, name in VIEWS:
        [current] = [
            attributes
            for _, attributes in Elements(html[name.split()[0].lower()]).found
            if attributes.get("aria-current")
        ]
        assert current["href"] == path


def test_a_project_without_transactions_has_its_functions_and_workflow() -> None:
    """Its own state machine is drawn, and no page or link is about transactions."""
    pages = Pages(Frame("dev", "local", read_only=False, transactions=False))
    machine = {"StartAt": HOSTILE, "States": {HOSTILE: {"Type": "Succeed"}}}
    for definition_shown in (None, machine):
        html = pages.page(
            "pipeline.html", path="/", flow=replace(flow(), transactions=None), findings=(), examined=True,
            definition=definition_shown, notes={},
        )  # fmt: skip
        elements = Elements(html).found
        assert "<h1>Functions</h1>" in html
        assert ("<svg" in html) == (definition_shown is not None)
        assert not {"img", "style"} & {tag for tag, _ in elements}
        assert {each["href"] for tag, each in elements if tag == "a"} == {"#content", *dict(VIEWS_OF_FUNCTIONS)}


def test_a_console_that_only_reads_offers_no_change() -> None:
    for name, html in everything(READ_ONLY).items():
        if name == "confirm":  # is refused before it is made
            continue
        elements = Elements(html).found
        methods = [attributes.get("method") for tag, attributes in elements if tag == "form"]
        buttons = re.findall(r"<button[^>]*>([^<]*)", html)
        assert ("post" not in methods) or name == "try", name
        assert not {"Submit", "Submit the file", "Redrive", "Roll back"} & set(buttons), name
        assert not [each for _, each in elements if "redrive" in str(each.get("href"))], name


def test_ids_in_links_are_quoted() -> None:
    html = everything(PAGES)["pipeline"]
    [link] = {each["href"] for _, each in Elements(html).found if str(each.get("href")).startswith("/transaction?")}
    assert link is not None
    assert re.fullmatch(r"/transaction\?id=[A-Za-z0-9%_.+/~-]+", link)


def test_styles_cover_the_picture() -> None:
    """The picture has no style of its own: each class that it uses is styled by the page."""
    css = (HERE / "static" / "console.css").read_text()
    svg = everything(PAGES)["transaction"].partition("<svg")[2].partition("</svg>")[0]
    used = {name for names in re.findall(r'class="([^"]+)"', svg) for name in names.split()}
    assert {"way", "on", "ground", "tip", "parks"} <= used
    assert not [name for name in used if f".{name}" not in css]


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ('{"errorMessage":"out of rules","stackTrace":["  File x, line 1, in f\\n"]}', "out of rules (File x, line 1"),
        ("plain", "plain"),
    ],
)
def test_causes_are_in_words(cause: str, words: str) -> None:
    message = ParkedMessage("queue", "h", "i", "e", "Validate", "Boom", cause, "2026", input={"transaction_id": "t"})
    view = views.ParkedView.of(Redriven(message, Result.WAITING))
    assert view.words.startswith(words)
    assert [view.has(text) for text in ("BOOM", "validate", words[:5], "t", "absent")] == [True] * 4 + [False]


def test_a_release_says_what_is_proven_of_it() -> None:
    sound, broken = views.proofs_of({"b": proven("it has no signature"), "a": proven()})
    assert (sound.function, sound.faults, broken.faults) == ("a", (), ("it has no signature",))
    assert sound.facts == ((HOSTILE[:100], HOSTILE[:100]),)
    without_key = PAGES.page(
        "releases.html", path="/releases", stacks=(), releases=(), shown=release(7, "a"), proofs=(), chosen=(),
        images="",
        difference=None, command="",
    )  # fmt: skip
    assert "Provenance of release 7" in without_key
    assert "names no <code>verification_key</code>" in without_key


def test_what_differs_between_releases() -> None:
    before, after = release(1, "a", Zones="3", Gone="x"), release(2, "b", Zones="2", New="y")
    rows = {each.what: (each.before, each.after) for each in views.difference_of(before, after).rows}
    assert rows == {
        HOSTILE: (Digest.of(b"a").short, Digest.of(b"b").short), "Zones": ("3", "2"), "Gone": ("x", "–"),
        "New": ("–", "y"),
    }  # fmt: skip
    assert views.difference_of(before, before).rows == ()
    newest, oldest = views.releases_of((before, after))
    assert (newest.number, set(newest.changed), oldest.changed) == (2, set(rows), ())


def test_a_function_without_a_state_has_no_note() -> None:
    function = SimpleNamespace(name="fraud-detection", latency=Latency(1.0, 9.6))
    other = SimpleNamespace(name="other", latency=Latency(1.0, 2.0))
    entered = SimpleNamespace(entered={"Read": 3, "FraudDetection": 2})
    value: Any = SimpleNamespace(transactions=entered, functions=(function, other))
    assert views.notes_of(value) == {"Read": "3", "FraudDetection": "2 · p99 10 ms"}
