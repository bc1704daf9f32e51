"""The console's addresses: what is read for each page, and what a form starts. AWS is called in threads."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pipeline.console import views
from pipeline.console.flow import Flow, FlowReader, recent_of
from pipeline.console.jobs import Job, Jobs, Run
from pipeline.console.rendering import HERE, Frame, Pages
from pipeline.console.subject import Cached, Changes, Subject
from pipeline.core.errors import NextStep, PipelineError, SubmissionError
from pipeline.doctor.verdict import CheckResult
from pipeline.ledger.releases import list_releases
from pipeline.stacks import read_stack
from pipeline.stacks.stack_events import last_operation
from pipeline.transactions.explain import Story, explain
from pipeline.transactions.redrive import Redrive, Redriver, redrive
from pipeline.transactions.transaction_records import find_by_customer

# Parked messages, and transactions of a customer, on a page.
PARKED_SHOWN, FOUND_SHOWN = 50, 50
# Seconds between two looks of a live page; on AWS calls are limited and cost.
LOCAL_PAUSE, AWS_PAUSE = 2.0, 5.0
FORM_MAX, FILE_MAX = 1 << 20, 64 << 20


@dataclass
class Console:
    """One console, as long as it is served. uploads: a private folder for the files that it submits."""

    subject: Subject
    uploads: Path
    jobs: Jobs = field(default_factory=Jobs)
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        subject = self.subject
        self.pause = LOCAL_PAUSE if subject.is_local else AWS_PAUSE
        self.pages = Pages(Frame(subject.environment, subject.target_name, read_only=subject.changes is None))
        self.flow = FlowReader(subject, self.pause * 0.9)
        self.stacks = Cached(self._read_stacks, self.pause * 0.9)
        self._doctor = ThreadPoolExecutor(1, thread_name_prefix="doctor")
        # Looked at once a quarter of an hour, in the background: it takes seconds.
        self._examination: Cached[Future[Sequence[CheckResult]]] = Cached(self._examine, 900)

    def prepare(self) -> None:
        """Read what the first page shows, before it is asked for: making clients takes longer than using them."""
        with suppress(PipelineError):  # which the page says
            self.flow_values()

    def close(self) -> None:
        self.jobs.end()
        self.flow.close()
        self._doctor.shutdown(wait=False, cancel_futures=True)

    def _examine(self) -> Future[Sequence[CheckResult]]:
        return self._doctor.submit(self.subject.examine)

    # What pages show

    def flow_values(self) -> dict[str, Any]:
        flow: Flow = self.flow()
        future = self._examination()
        examined = future.done() and future.exception() is None
        findings = views.findings_of(future.result(), self.subject.spell) if examined else ()
        definition, notes = self.subject.state_machine, views.notes_of(flow)
        # A doctor that failed is not still looking; its cause is that of the page itself.
        return {
            "flow": flow, "findings": findings, "examined": future.done(), "definition": definition, "notes": notes,
        }  # fmt: skip

    def story(self, identifier: str) -> Story:
        subject = self.subject
        groups = {name: subject.names.log_group(name) for name in subject.functions}
        return subject.read(
            f"{identifier} was not explained",
            lambda: explain(
                subject.client("dynamodb"), subject.client("logs"), table=subject.output("StateTableName"),
                transaction_id=identifier, definition=subject.state_machine,
                log_groups={**groups, "state machine": subject.names.state_machine_log_group},
            ),
        )  # fmt: skip

    def of_customer(self, customer: str) -> tuple[Any, ...]:
        subject = self.subject
        table = partial(subject.output, "StateTableName")
        found = subject.read(
            f"the transactions of {customer} were not read",
            lambda: find_by_customer(subject.client("dynamodb"), table(), customer, FOUND_SHOWN),
        )
        return tuple(map(recent_of, found))

    def parked(self) -> Redrive:
        subject = self.subject

        def read() -> Redrive:
            redriver = Redriver(
                subject.client("sqs"),
                subject.client("dynamodb"),
                subject.client("stepfunctions"),
                subject.output("DeadLetterQueueUrl"),
                subject.output("StateTableName"),
                subject.output("StateMachineArn"),
                # The embedded queue has one server, so there a short poll sees every message.
                last_poll=0 if subject.is_local else 1,
            )
            return redrive(redriver, dry_run=True, limit=PARKED_SHOWN)

        return subject.read("what is parked was not read", read)

    def releases(self) -> Any:
        subject = self.subject
        what = f"the releases of {subject.environment} were not read"
        return subject.read(what, lambda: list_releases(subject.client("ssm"), subject.names.ledger))

    def _read_stacks(self) -> tuple[views.StackView, ...]:
        subject = self.subject

        def read() -> tuple[views.StackView, ...]:
            cloudformation = subject.client("cloudformation")
            found = []
            for name in (subject.names.registry_stack, subject.names.pipeline_stack):
                state = read_stack(cloudformation, name)
                events = () if state.status.gone else last_operation(cloudformation, state.stack_id)
                found.append(views.StackView.of(state, events))
            return tuple(found)

        return subject.read("the stacks were not read", read)

    # Answers

    def page(self, template: str, path: str, status: int = 200, **values: Any) -> Response:
        return HTMLResponse(self.pages.page(template, path=path, **values), status)

    def problem(self, error: PipelineError, path: str) -> Response:
        status = views.status_of(error)
        return self.page("problem.html", path, status, problem=error, next_step=self.next_step(error))

    def next_step(self, error: PipelineError) -> str:
        return error.next_step.render(self.subject.spell)

    def job_values(self, job: Job) -> dict[str, Any]:
        values: dict[str, Any] = {"job": job, "lines": list(job.lines)[::-1], "problem": job.error, "next_step": ""}
        if job.error is not None:
            values["next_step"] = self.next_step(job.error)
        return values

    def changes(self) -> Changes:
        """Raises HTTPException if this console only reads."""
        if self.subject.changes is None:
            raise HTTPException(403, "this console only reads; start it with --allow-changes")
        return self.subject.changes

    def start(self, title: str, command: Sequence[str], run: Run) -> Response:
        job = self.jobs.start(title, self.subject.spell(tuple(command)), run)
        return RedirectResponse(f"/changes/{job.number}", 303)


Handler = Callable[[Console, Request], Response]


# Views: run in threads, because they call AWS.


def show_pipeline(console: Console, _request: Request) -> Response:
    return console.page("pipeline.html", "/", **console.flow_values())


def show_transaction(console: Console, request: Request) -> Response:
    query = views.Query(*(request.query_params.get(name, "").strip()[:200] for name in ("id", "customer")))
    values: dict[str, Any] = {"query": query, "story": None, "records": None, "problem": None, "next_step": ""}
    status = 200
    try:
        if query.id:
            story = console.story(query.id)
            command = console.subject.spell(("explain", query.id))
            values |= {"story": story, "judges": views.judges_of(story), "command": command}
        elif query.customer:
            values["records"] = console.of_customer(query.customer)
    except PipelineError as error:
        values |= {"problem": error, "next_step": console.next_step(error)}
        status = views.status_of(error)
    return console.page("transaction.html", "/transaction", status, **values)


def show_parked(console: Console, request: Request) -> Response:
    text = request.query_params.get("filter", "").strip()[:200]
    found = console.parked()
    messages = [view for each in found.messages if (view := views.ParkedView.of(each)).has(text)]
    command = console.subject.spell(("redrive", "--dry-run"))
    return console.page("parked.html", "/parked", found=found, messages=messages, filter=text, command=command)


def confirm_redrive(console: Console, request: Request) -> Response:
    console.changes()
    identifier = request.query_params.get("id", "")
    return console.page(
        "confirm.html", "/parked",
        question=f"Redrive {identifier}?" if identifier else "Redrive everything that is parked?",
        consequence="Each is submitted again, and is taken from the queue only once its answer is recorded.",
        action="/parked/redrive", fields={"id": identifier}, verb="Redrive",
        command=console.subject.spell(redrive_command(identifier)),
    )  # fmt: skip


def redrive_command(identifier: str) -> tuple[str, ...]:
    # With =, an id that begins with a hyphen is no option.
    return ("redrive", f"--id={identifier}") if identifier else ("redrive",)


def show_releases(console: Console, request: Request) -> Response:
    releases = console.releases()
    known = {each.number: each for each in releases}
    given = [request.query_params.get(name, "") for name in ("from", "to")]
    numbers = [int(each) if each.isdecimal() and len(each) < 10 else 0 for each in given]
    first, second = (known.get(number) for number in numbers)
    difference = views.difference_of(first, second) if first and second else None
    chosen = tuple(numbers) if difference else tuple(sorted(known))[-2:]
    return console.page(
        "releases.html", "/releases", stacks=console.stacks(), releases=views.releases_of(releases),
        difference=difference, chosen=chosen if len(chosen) == 2 else (0, 0),
        command=console.subject.spell(("releases",)),
    )  # fmt: skip


def confirm_rollback(console: Console, request: Request) -> Response:
    console.changes()
    number = release_number(request.query_params.get("to", ""))
    return console.page(
        "confirm.html", "/releases", question=f"Roll back to release {number}?", action="/releases/rollback",
        consequence="The pipeline stack goes back in one update: images, template and parameters. Nothing is built."
        " A rollback that would lose data is refused here.",
        fields={"to": str(number)}, verb="Roll back",
        command=console.subject.spell(("rollback", "--to", str(number))),
    )  # fmt: skip


def release_number(text: str) -> int:
    """Raises HTTPException for any other text."""
    if not (text.isdecimal() and text.isascii() and len(text) < 10):
        raise HTTPException(400, "a release has a number")
    return int(text)


def show_try(console: Console, _request: Request) -> Response:
    return try_page(console, views.EXAMPLE)


def try_page(console: Console, text: str, **more: Any) -> Response:
    values: dict[str, Any] = {"result": None, "story": None, "problem": None, "next_step": "", "command": ""}
    allow = console.subject.spell(("console", "--allow-changes"))
    return console.page("try.html", "/try", text=text, allow=allow, **(values | more))


def show_change(console: Console, request: Request) -> Response:
    return console.page("job.html", "", **console.job_values(find_job(console, request)))


def find_job(console: Console, request: Request) -> Job:
    if (job := console.jobs.find(int(request.path_params["number"]))) is None:
        raise HTTPException(404, "this console has no such change")
    return job


# Changes


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form. Raises HTTPException for another kind of body, or a long one."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise HTTPException(415, "a form was expected")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_MAX:
            raise HTTPException(413, f"a form has at most {FORM_MAX:,} bytes")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=10)
    except ValueError as error:
        raise HTTPException(400, "the form cannot be read") from error
    return {name: values[0] for name, values in fields.items()}


async def start_redrive(console: Console, request: Request) -> Response:
    changes = console.changes()
    identifier = (await form_of(request)).get("id", "")
    title = f"Redrive {identifier}" if identifier else "Redrive everything"
    return console.start(title, redrive_command(identifier), partial(changes.redrive, identifier or None))


async def start_rollback(console: Console, request: Request) -> Response:
    changes = console.changes()
    number = release_number((await form_of(request)).get("to", ""))
    title = f"Roll back to release {number}"
    return console.start(title, ("rollback", "--to", str(number)), partial(changes.roll_back, number))


async def submit_one(console: Console, request: Request) -> Response:
    changes = console.changes()
    text = (await form_of(request)).get("transaction", "")
    return await run_in_threadpool(_submit_one, console, changes, text)


def _submit_one(console: Console, changes: Changes, text: str) -> Response:
    command = console.subject.spell(("submit", "--", text))
    try:
        result = changes.submit(text, lambda _event: None).text
    except PipelineError as error:
        return try_page(console, text, problem=error, next_step=console.next_step(error), command=command)
    story = None
    if (identifier := _identifier(text)) is not None:
        try:
            story = console.story(identifier)
        except PipelineError:  # such as an id that is not recorded; the answer says why
            story = None
    return try_page(console, text, result=result, story=story, command=command)


def _identifier(text: str) -> str | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    value = document.get("transaction_id") if isinstance(document, dict) else None
    return value if isinstance(value, str) and value else None


async def submit_file(console: Console, request: Request) -> Response:
    changes = console.changes()
    if request.headers.get("content-type", "").partition(";")[0] != "multipart/form-data":
        raise HTTPException(415, "a file was expected")
    async with request.form(max_files=1, max_fields=1) as form:
        upload = form.get("file")
        if not isinstance(upload, UploadFile) or not upload.filename:
            raise HTTPException(400, "choose a file")
        suffix = Path(upload.filename).suffix.lower()
        if suffix not in (".jsonl", ".ndjson", ".csv"):
            raise HTTPException(400, "a file of transactions ends in .jsonl, .ndjson or .csv")
        path = console.uploads / f"{uuid.uuid4()}{suffix}"
        with path.open("xb") as file:
            while block := await upload.read(1 << 20):
                await run_in_threadpool(file.write, block)
        name = upload.filename
    return console.start(f"Submit {name}", ("submit", "--file", name), partial(changes.submit_file, path))


# Live parts


def live_pipeline(console: Console, _request: Request) -> str:
    return console.pages.part("_flow.html", **console.flow_values())


def live_stacks(console: Console, _request: Request) -> str:
    return console.pages.part("_stacks.html", stacks=console.stacks())


def live_change(console: Console, request: Request) -> str:
    return console.pages.part("_job.html", **console.job_values(find_job(console, request)))


async def events(
    console: Console, request: Request, part: Callable[[Console, Request], str], ended: Callable[[], bool]
) -> AsyncIterator[str]:
    """A part of a page as server-sent events, each time that it changes, until ``ended``."""
    last = ""
    while not console.ending.is_set():
        over = ended()
        try:
            html = await run_in_threadpool(part, console, request)
        except PipelineError as error:
            values = {"problem": error, "next_step": console.next_step(error)}
            html = console.pages.part("_problem.html", **values)
        if html != last:
            yield f"event: part\ndata: {json.dumps(html)}\n\n"
            last = html
        else:
            yield ": still here\n\n"
        if over:
            yield "event: end\ndata: 1\n\n"
            return
        try:
            await asyncio.wait_for(console.ending.wait(), 0.5 if request.path_params else console.pause)
        except TimeoutError:
            continue


def application(console: Console) -> Starlette:
    """The console as an ASGI application; ``Access`` belongs before it."""

    def view(path: str, handler: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(handler, console, request)

        return Route(path, endpoint, methods=["GET"])

    def change(path: str, handler: Callable[[Console, Request], Awaitable[Response]]) -> Route:
        async def endpoint(request: Request) -> Response:
            return await handler(console, request)

        return Route(path, endpoint, methods=["POST"])

    def live(path: str, part: Callable[[Console, Request], str]) -> Route:
        async def endpoint(request: Request) -> Response:
            job = find_job(console, request) if request.path_params else None
            stream = events(console, request, part, lambda: job is not None and job.ended is not None)
            return StreamingResponse(stream, media_type="text/event-stream")

        return Route(path, endpoint, methods=["GET"])

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, PipelineError)  # noqa: S101
        return await run_in_threadpool(console.problem, error, f"/{request.url.path.split('/')[1]}")

    async def on_refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        problem = SubmissionError("This was not done", error.detail, NextStep("Go back, and choose another way."))
        path = f"/{request.url.path.split('/')[1]}"
        values = {"problem": problem, "next_step": console.next_step(problem)}
        return console.page("problem.html", path, error.status_code, **values)

    return Starlette(
        routes=[
            view("/", show_pipeline),
            view("/transaction", show_transaction),
            view("/parked", show_parked),
            view("/parked/redrive", confirm_redrive),
            change("/parked/redrive", start_redrive),
            view("/releases", show_releases),
            view("/releases/rollback", confirm_rollback),
            change("/releases/rollback", start_rollback),
            view("/try", show_try),
            change("/try", submit_one),
            change("/try/file", submit_file),
            view("/changes/{number:int}", show_change),
            live("/live/pipeline", live_pipeline),
            live("/live/stacks", live_stacks),
            live("/live/changes/{number:int}", live_change),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        exception_handlers={PipelineError: on_problem, HTTPException: on_refusal},
    )
