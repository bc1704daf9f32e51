"""A console while it is served: what its pages read, and what its answers are made with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pipeline.assembly.proof.verification import Proven
from pipeline.console import views
from pipeline.console.flow import Flow, FlowReader
from pipeline.console.jobs import Job, Jobs, Run
from pipeline.console.rendering import Frame, Pages
from pipeline.console.subject import Cached, Changes, Subject
from pipeline.console.transaction_flow import recent_of
from pipeline.core.errors import PipelineError
from pipeline.doctor.verdict import CheckResult
from pipeline.ledger.releases import Release, list_releases
from pipeline.stacks import read_stack
from pipeline.stacks.stack_events import last_operation
from pipeline.transactions.explain import Story, explain
from pipeline.transactions.redrive import Redrive, Redriver, redrive
from pipeline.transactions.transaction_records import find_by_customer

# Parked messages, and transactions of a customer, on a page.
PARKED_SHOWN, FOUND_SHOWN = 50, 50
# Seconds between two looks of a live page; on AWS calls are limited and cost.
LOCAL_PAUSE, AWS_PAUSE = 2.0, 5.0


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
        frame = Frame(
            subject.environment,
            subject.target_name,
            read_only=subject.changes is None,
            transactions=subject.has_transactions,
        )
        self.pages = Pages(frame)
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
        findings = views.findings_of(future.result() if examined else (), flow.drift, self.subject.spell)
        definition, notes = self.subject.state_machine, views.notes_of(flow)
        # A doctor that failed is not still looking; its cause is that of the page itself.
        return {
            "flow": flow, "findings": findings, "examined": future.done(), "definition": definition, "notes": notes,
        }  # fmt: skip

    def story(self, identifier: str) -> Story:
        subject = self.subject
        groups = {name: subject.names.log_group(name) for name in subject.functions}

        def read() -> Story:
            machine = subject.state_machine
            assert machine is not None  # noqa: S101 - transactions have one
            return explain(
                subject.client("dynamodb"), subject.client("logs"), table=subject.output("StateTableName"),
                transaction_id=identifier, definition=machine,
                log_groups={**groups, "state machine": subject.names.state_machine_log_group},
            )  # fmt: skip

        return subject.read(f"{identifier} was not explained", read)

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

    def prove(self, release: Release) -> Mapping[str, Proven]:
        """What signatures and provenance prove of a release's images; {} without a public key."""
        return self.subject.prove(release.images) if self.subject.prove is not None else {}

    def compare(self, before: int, after: int) -> str:
        """What changed in the images from one release to another, or why that cannot be said."""
        subject = self.subject
        try:
            what = f"releases {before} and {after} were not compared"
            return subject.read(what, lambda: subject.compare(before, after))
        except PipelineError as error:
            return f"{error.what}: {error.why}"

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
