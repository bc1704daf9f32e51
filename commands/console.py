"""The command console: pages about the environment, and the changes that they may start."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.context import Context, Outcome
from commands.declared import command, flag, omit
from commands.next_steps import command_line
from pipeline.core.errors import LocalError
from pipeline.core.events import Report

if TYPE_CHECKING:
    from pipeline.console.subject import Subject

_INSTALL = "Install the program with its extra: pip install 'transaction-pipeline[console]'"


@command(
    "Show the environment in a browser.",
    flag("--allow-changes", "Also submit, redrive and roll back there; without it the console only reads."),
    click.Option(
        ["--port"], type=click.IntRange(1, 65535), metavar="PORT", help="Listen there; default: any free port."
    ),
    omit("--no-browser", "browser", "Only print the address."),
    drawn=False,
)
def console(context: Context, *, allow_changes: bool, port: int | None, browser: bool) -> Outcome:
    """Serve pages about the environment on this machine, until Ctrl-C: the flow, one transaction's story, what is
    parked, the releases, and a form to try it; of a project without transactions, its functions and releases. The
    printed address works once, in one browser."""
    try:
        from pipeline.console.serving import serve
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "starlette", "uvicorn"):
            raise
        raise LocalError(
            "the console was not started", f"the package {error.name} is not installed", _INSTALL
        ) from error
    context.running_target()  # fails before anything is opened
    subject = subject_of(context, allow_changes=allow_changes)
    with suppress(KeyboardInterrupt):
        serve(subject, port or 0, lambda url: context.console.tell(f"{url}\nCtrl-C ends it."), browse=browser)
    return Outcome({"environment": context.environment, "target": context.target_name}, "")


def subject_of(context: Context, *, allow_changes: bool) -> Subject:
    """What a console of this context shows and may change."""
    from commands.proving import prove_release, why_changed
    from pipeline.console.subject import Subject
    from pipeline.doctor import CheckResult

    def examine() -> tuple[CheckResult, ...]:
        from commands.doctor import examine as examine_target

        return tuple(examine_target(context, context.running_target()))

    return Subject(
        environment=context.environment,
        target_name=context.target_name,
        names=context.names,
        functions=tuple(source.name for source in context.sources),
        has_transactions=context.described.workflow is not None,
        connect=context.running_target,
        spell=lambda words: command_line(context, *words),
        examine=examine,
        compare=lambda before, after: why_changed(context, before=str(before), after=str(after)).text,
        changes=_Commands(context) if allow_changes else None,
        prove=(lambda images: prove_release(context, images)) if context.choices.verification_key else None,
    )


@dataclass(frozen=True, slots=True)
class _Commands:
    """The changes of a console: the commands themselves, with what each reports going to the page."""

    context: Context

    def submit(self, text: str, report: Report) -> Outcome:
        from commands.running import submit_text

        return submit_text(self._of(report), text)

    def submit_file(self, path: Path, report: Report) -> Outcome:
        from commands.running import submit

        return submit(self._of(report), transaction=None, file=path)

    def redrive(self, transaction_id: str | None, report: Report) -> Outcome:
        from commands.running import redrive

        return redrive(self._of(report), dry_run=False, transaction_id=transaction_id, limit=None)

    def roll_back(self, number: int, report: Report) -> Outcome:
        from commands.history import rollback

        return rollback(self._of(report), to=number, images_only=False, yes=False)

    def _of(self, report: Report) -> Context:
        # Without a terminal to ask on: a change that would lose something is refused, with the command for it.
        return replace(self.context, report=report, ask=None)
