"""The console's addresses: what is read for each page, and what a form starts. AWS is called in threads."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pipeline.console import views
from pipeline.console.console_state import Console
from pipeline.console.jobs import Job
from pipeline.console.rendering import HERE
from pipeline.console.subject import Changes
from pipeline.core.errors import NextStep, PipelineError, SubmissionError

FORM_MAX = 1 << 20


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
    numbers = [number_of(request.query_params.get(name, "")) for name in ("from", "to")]
    first, second = (known.get(number) for number in numbers)
    shown = known.get(number_of(request.query_params.get("proof", "")))
    values: dict[str, Any] = {"difference": None, "images": "", "chosen": tuple(sorted(known))[-2:]}
    command: tuple[str, ...] = ("releases",)
    if first and second:
        pair = first.number, second.number
        command = ("why-changed", *map(str, pair))
        values = {"difference": views.difference_of(first, second), "images": console.compare(*pair), "chosen": pair}
    return console.page(
        "releases.html", "/releases", stacks=console.stacks(), releases=views.releases_of(releases), shown=shown,
        proofs=views.proofs_of(console.prove(shown)) if shown else (), command=console.subject.spell(command), **values,
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


def number_of(text: str) -> int:
    """The number of a release; 0, which none has, for any other text."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else 0


def release_number(text: str) -> int:
    """Raises HTTPException for a text that is no number."""
    if not (number := number_of(text)):
        raise HTTPException(400, "a release has a number")
    return number


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

    routes = [
        view("/", show_pipeline),
        view("/releases", show_releases),
        view("/releases/rollback", confirm_rollback),
        change("/releases/rollback", start_rollback),
        view("/changes/{number:int}", show_change),
        live("/live/pipeline", live_pipeline),
        live("/live/stacks", live_stacks),
        live("/live/changes/{number:int}", live_change),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    if console.subject.has_transactions:
        routes += [
            view("/transaction", show_transaction),
            view("/parked", show_parked),
            view("/parked/redrive", confirm_redrive),
            change("/parked/redrive", start_redrive),
            view("/try", show_try),
            change("/try", submit_one),
            change("/try/file", submit_file),
        ]
    return Starlette(
        routes=routes,
        exception_handlers={PipelineError: on_problem, HTTPException: on_refusal},
    )
