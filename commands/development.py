"""Commands for developing functions: logs, invoke; see also commands.watching."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from commands.context import Context, Outcome
from commands.declared import ReadFile, Text, command, flag
from commands.log_lines import LogLines
from commands.progress import seconds_text
from commands.reading import read_text
from pipeline.core.errors import LocalError, NextStep, StackError
from pipeline.core.events import Note
from pipeline.operations.sample_events import KINDS, sample_event

if TYPE_CHECKING:
    from pipeline.assembly.model import FunctionSource
    from pipeline.local.debugger.debugging import Waiting
    from pipeline.operations.invoke import Invoked
    from pipeline.operations.logs import LogSource
    from pipeline.target import Target

Write = Callable[[str], None]
# Seconds between polls for new log lines; AWS allows ten such calls a second per account.
_POLL_LOCAL, _POLL_AWS = 0.25, 2.0


# --- logs ------------------------------------------------------------------------------------------------------------


@command(
    "Show logs, merged by time.",
    click.Option(["--follow", "-f"], is_flag=True, help="Keep printing new lines, until Ctrl-C."),
    click.Option(["--function"], metavar="NAME", type=Text(), help="Only logs of this function, or state-machine."),
    click.Option(["--transaction"], metavar="ID", type=Text(), help="Only logs of this transaction."),
    click.Option(
        ["--since"],
        type=Text(),
        metavar="TIME",
        default="10m",
        show_default=True,
        help="How far back to read, such as 30s, 10m, 2h.",
    ),
    drawn=False,
)
def logs(context: Context, *, function: str | None, transaction: str | None, since: str, follow: bool) -> Outcome:
    """Show the logs of the functions and the workflow, merged by time."""
    from pipeline.core.spans import parse_duration
    from pipeline.operations.logs import LogReader, parse_transaction_id
    from pipeline.target import explained

    sources = _log_sources(context, function)
    start = time.time() - _parsed("--since", parse_duration, since).total_seconds()
    wanted = _parsed("--transaction", parse_transaction_id, transaction) if transaction is not None else None
    console = context.console
    lines = LogLines([source.name for source in sources], console.colour)
    count = 0
    with explained(context.target_name, f"the logs of {context.environment} were not read"):
        target = context.running_target()
        reader = LogReader(target.client("logs"), sources, int(start * 1000), wanted)
        events = reader.read()
        if len(reader.missing) == len(sources):
            raise StackError(
                f"the logs of {context.environment} were not read",
                f"there is no log group {', '.join(sorted(reader.missing))}",
                NextStep("Deploy the pipeline stack, which creates it", ("up",)),
            )
        if not follow:
            if not events:
                about = f" for {wanted}" if wanted is not None else ""
                context.report(Note(f"no logs{about} in the last {since}; use --since to look further back"))
            document = {"events": [event.to_json() for event in events]}
            return Outcome(document, "" if console.as_json else "\n".join(lines.text(event) for event in events))
        try:
            while True:
                for event in events:
                    console.write(json.dumps(event.to_json()) if console.as_json else lines.text(event))
                    count += 1
                time.sleep(_POLL_LOCAL if target.is_local else _POLL_AWS)
                events = reader.read()
        except KeyboardInterrupt:
            return Outcome({"events": count}, "")


def _parsed(option: str, parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"'{option}'") from error


def _log_sources(context: Context, function: str | None) -> tuple[LogSource, ...]:
    from pipeline.operations.logs import STATE_MACHINE, LogSource

    names = context.names
    sources = [LogSource(source.name, names.log_group(source.name)) for source in context.sources]
    if context.has_workflow:
        sources.append(LogSource(STATE_MACHINE, names.state_machine_log_group))
    if function is None:
        return tuple(sources)
    known = {source.name: source for source in sources}
    name = function.removesuffix(f"-{context.environment}") if function not in known else function
    if name not in known:
        raise click.BadParameter(f"there is no {function!r}; choose from {', '.join(known)}", param_hint="'--function'")
    return (known[name],)


# --- invoke ----------------------------------------------------------------------------------------------------------


@command(
    "Invoke one function.",
    flag("--debug", "Wait for a debugger, without a time limit (local target)."),
    click.Option(["--port"], type=click.IntRange(1, 65535), help="With --debug; default: 5678, or a free one."),
    click.Argument(["function"], metavar="FUNCTION", type=Text()),
    click.Option(
        ["--event", "kind"], type=click.Choice(KINDS), metavar="KIND", help=f"A sample event: {', '.join(KINDS)}."
    ),
    click.Argument(["event"], metavar="[EVENT]", type=ReadFile(), required=False),
    drawn=False,
)
def invoke(
    context: Context, *, function: str, event: BinaryIO | None, debug: bool, port: int | None, kind: str | None = None
) -> Outcome:
    """Invoke FUNCTION with the event in the file EVENT (- for standard input); print its result, log and times.

    --event makes the event, with what the function declares in function.toml: its route, its bucket, its schedule's
    input. Exit code 1 if the function fails.
    """
    from cfn.names import LIVE_ALIAS
    from pipeline.operations.invoke import invoke_function
    from pipeline.target import explained

    source = _function(context, function)
    tell = context.console.tell
    if (event is None) == (kind is None):
        raise click.UsageError("Give an event: a file, or a sample with --event.")
    if event is not None:
        text = _parsed("EVENT", _json_text, read_text(event, getattr(event, "name", "the event")))
    else:
        text = json.dumps(sample_event(str(kind), source.definition)).encode()
    name = context.names.function(source.name)
    with explained(context.target_name, f"{source.name} was not invoked"):
        target = context.running_target()
        if debug:
            invoked = _debug(context, target, source, text, port, tell)
        else:
            invoked = invoke_function(target, name, text, qualifier=LIVE_ALIAS)
    for line in invoked.log:
        tell(line)
    tell(_measures(invoked))
    answer = json.dumps(invoked.result, indent=2, ensure_ascii=False)
    if invoked.failed:
        trace = invoked.result.get("stackTrace", []) if isinstance(invoked.result, dict) else []
        answer = "\n".join([f"error: {invoked.error}", *(line.rstrip("\n") for line in trace)])
    return Outcome(invoked.to_json(), answer, 1 if invoked.failed else 0)


def _function(context: Context, name: str) -> FunctionSource:
    known = {source.name: source for source in context.sources}
    found = known.get(name) or known.get(name.removesuffix(f"-{context.environment}"))
    if found is None:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
        raise click.BadParameter(f"there is no {name!r}; {hint}", param_hint="'FUNCTION'")
    return found


def _json_text(text: str) -> bytes:
    from pipeline.core.documents import parse_json

    try:
        parse_json(text)
    except ValueError as error:
        raise ValueError(f"the event is not JSON: {error}") from error
    return text.encode("utf-8", "surrogatepass")


def _measures(invoked: Invoked) -> str:
    units = {"duration": "ms", "init": "ms", "billed": "ms", "memory": "MB"}
    parts = [f"{name} {value:g} {units[name]}" for name, value in invoked.measured.items()]
    if invoked.measured and "init" not in invoked.measured:
        parts.append("no init (warm)")
    return f"{invoked.function}: {', '.join([*parts, f'answered after {seconds_text(invoked.seconds)}'])}"


def _debug(
    context: Context, target: Target, source: FunctionSource, event: bytes, port: int | None, tell: Write
) -> Invoked:
    from cfn.names import LIVE_ALIAS
    from pipeline.local.debugger.debugging import debug_function
    from pipeline.local.invocation import Status
    from pipeline.operations.invoke import Invoked, describe_function, read_payload, read_report

    if not target.is_local or target.endpoint is None:
        raise LocalError(
            f"{source.name} was not debugged",
            "a debugger can be attached only on the local target",
            "Omit --target; the local target runs the same image.",
        )
    name = context.names.function(source.name)
    document = describe_function(target, name, qualifier=LIVE_ALIAS)
    started = time.monotonic()
    outcome = debug_function(
        document, source, event, context.local_folder, target.endpoint, target.registry,
        lambda waiting: tell(_waiting_text(waiting, context.root)), port=port,
    )  # fmt: skip
    log = outcome.log.splitlines()
    return Invoked(
        name, read_payload(outcome.payload), outcome.status is not Status.OK, tuple(log), time.monotonic() - started,
        read_report(log),
    )  # fmt: skip


def _waiting_text(waiting: Waiting, root: Path) -> str:
    """The address where the function waits, and the editor settings for it."""

    def in_workspace(path: Path) -> str:
        return f"${{workspaceFolder}}/{path.relative_to(root)}" if path.is_relative_to(root) else str(path)

    settings = {
        "name": waiting.function,
        "type": "debugpy",
        "request": "attach",
        "connect": {"host": waiting.host, "port": waiting.port},
        "pathMappings": [
            {"localRoot": in_workspace(local), "remoteRoot": in_workspace(runs)} for local, runs in waiting.mappings
        ],
    }
    lines = [f"{waiting.function} waits for a debugger on {waiting.host}:{waiting.port} (Ctrl-C ends it)"]
    if waiting.differs:
        lines.append(
            "changed since the last release, so line numbers may be off until `up` or `watch`: "
            + ", ".join(waiting.differs)
        )
    lines += ["VS Code, in .vscode/launch.json:", json.dumps(settings, indent=2)]
    local, runs = waiting.mappings[-1]
    lines += ["PyCharm, Attach to DAP:", f"  remote address {waiting.host}:{waiting.port}"]
    lines += [f"  local project path {local}", f"  remote project path {runs}"]
    return "\n".join(lines)
