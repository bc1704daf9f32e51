"""Commands for whoever works on the functions: watch, logs, invoke."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.asking import confirm_watching
from commands.context import Context, Outcome
from commands.deploying import build_of, deployment_of, exclusive, lock_of
from commands.log_lines import LogLines
from commands.next_steps import command_line, spelled
from commands.picture import seconds_text
from pipeline.errors import (
    CheckFailed,
    DependencyError,
    LocalError,
    NotApproved,
    PipelineError,
    SourceError,
    StackError,
)
from pipeline.events import Event, Note

if TYPE_CHECKING:
    from pipeline.invoking import Invoked
    from pipeline.local.debugging import Waiting
    from pipeline.logs import LogSource
    from pipeline.model import FunctionSource
    from pipeline.presence import Presence
    from pipeline.target import Target
    from pipeline.watching import Changes, QuickRelease

Write = Callable[[str], None]
# How often new log lines are asked for (seconds): AWS takes ten such calls a second from an account.
_POLL_LOCAL, _POLL_AWS = 0.25, 2.0


# --- watch -----------------------------------------------------------------------------------------------------------


def watch(context: Context, *, yes: bool) -> Outcome:
    """Bring the environment up, then release every saved change of the functions until Ctrl-C."""
    from pipeline.presence import present
    from pipeline.watching import saved_files

    confirm_watching(context, yes=yes)
    with present(lock_of(context)) as presence:
        watcher = _Watcher(context, presence, yes)
        try:
            for paths in saved_files(context.images_folder):
                watcher.take(paths)
        except KeyboardInterrupt:
            pass
        return watcher.outcome()


# What is mended by saving a file: it is told, and watching goes on.
_MENDED_BY_SAVING = (SourceError, DependencyError, CheckFailed)


class _EnvironmentGone(StackError):
    """There is nothing to release to, and no save is to make it anew."""


@dataclass
class _Watcher:
    """What is live, and what waits to be.

    presence  says when somebody takes the environment down
    yes       what would lose something is not asked about
    broken    the last word on what was saved is an error
    refused   the files ask for a loss that nobody approved
    """

    context: Context
    presence: Presence
    yes: bool = False
    target: Target | None = None
    quick: QuickRelease | None = None
    names: tuple[str, ...] = ()
    pending: Changes | None = None
    releases: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0
    broken: bool = False
    refused: bool = False
    _idle_since: float = field(default_factory=time.monotonic)

    def take(self, paths: set[Path]) -> None:
        """Release what the batch asks for, together with what an earlier failure left. The first one is everything."""
        from pipeline.target import explained
        from pipeline.watching import Changes, judge_changes, named_files, seen_after

        first = self.pending is None
        pending = self.pending if self.pending is not None else Changes(whole=True)
        images = self.context.images_folder
        if not (first or paths):
            self._look_after()
            return
        try:
            found = judge_changes(paths, images, self.names)
            # A file's own time may be older than its event: it can be copied with its times.
            found = replace(found, files=named_files(images, found.files))
            seen = min(seen_after(images, found.files), time.monotonic() - self._idle_since)
            self.pending = pending | found
            if not (first or found):
                return
            with explained(self.context.target_name, f"{', '.join(found.files) or 'everything'} is not live"):
                try:
                    self._release(self.pending, found, seen)
                except NotApproved as refusal:
                    if first:
                        raise
                    self._go_on_without(refusal, self.pending, seen)
            self.pending, self.broken = Changes(), False
        except _EnvironmentGone:
            raise
        except PipelineError as error:
            if first and not isinstance(error, _MENDED_BY_SAVING):
                raise
            if not isinstance(error, _MENDED_BY_SAVING):
                if self.quick is not None:
                    self._require_environment(stacks=True)
                self.quick = None  # the environment is not what it was: the next change goes the whole way
            self.failed += 1
            self.broken = True
            next_step = "What runs stays live." if isinstance(error, _MENDED_BY_SAVING) else error.next_step
            self._tell(f"{error.what}: {error.why}. {spelled(self.context, next_step)}")
        self._idle_since = time.monotonic()

    def _release(self, pending: Changes, found: Changes, seen: float) -> None:
        if pending.whole or self.quick is None:
            self._release_whole(found)
        else:
            with exclusive(self.context, "the release by watch of"):
                self._require_environment()
                self._release_quickly(pending, self.quick, seen)

    def _go_on_without(self, refusal: NotApproved, pending: Changes, seen: float) -> None:
        """What nobody approved is told once, and waits. Whatever else was saved is released, now and from here on."""
        self.failed += 1
        self.refused = True
        beside = command_line(self.context, "up")
        beside = f", or beside this one: {beside} --yes." if self.context.ask is None else f" `{beside}` asks again."
        self._tell(
            f"{refusal.what}: {refusal.why}. {refusal.next_step}{beside} What else is saved is released as before."
        )
        self._look_up()
        others = replace(pending, functions=pending.functions & frozenset(self.names), whole=False)
        self.pending = others
        if others:
            self._release(others, others, seen)

    def _look_up(self) -> None:
        """What stands now, which the changes that follow are released into."""
        from pipeline.watching import QuickRelease

        target = self.context.running_target()
        if self.target is None or self.target.endpoint != target.endpoint:
            self.target = target
        self.quick = QuickRelease(deployment_of(self.context, self.target, build_of(self.context, sbom=False)))
        self.names = self.quick.functions

    def _release_whole(self, found: Changes) -> None:
        """Both stacks and every function, as ``up`` does it, without the sample transaction."""
        from commands import releasing

        started = time.monotonic()
        self.quick = None
        before = self.context
        context = self.context = Context(
            before.environment, before.target_name, before.region, before.report, before.ask, before.root,
            before.base, before.builder, before.chosen_runtime,
        )  # fmt: skip
        outcome = releasing.up(
            context, smoke=False, sbom=True, yes=self.yes, command="watch",
            ready=lambda: self._require_environment(stacks=True),
        )  # fmt: skip
        self._look_up()
        seconds = time.monotonic() - started
        if found:
            functions = [{"name": each["name"], "digest": each["digest"]} for each in outcome.result["functions"]]
            self._keep(functions, found.files, {"total": round(seconds, 3)})
        cause = f"{', '.join(found.files)}: " if found.files else ""
        cause += "mended; " if self.broken or self.refused else ""
        self.refused = False
        self._tell(f"{cause}{context.environment} is as the files say, {seconds_text(seconds)}; watching images/")

    def _release_quickly(self, changes: Changes, quick: QuickRelease, seen: float) -> None:
        result = quick.release(changes.functions, self._notes)
        if not result.pushed:
            if self.broken:
                rest = "" if self.refused else "; what runs is what the files say"
                self._tell(f"{', '.join(changes.files)}: mended{rest}")
            return
        steps = {"seen": round(seen, 3), **result.seconds}
        total = steps["total"] = round(seen + steps["total"], 3)
        self._keep(
            [
                {"name": self.context.names.function(each.function), "digest": str(each.digest)}
                for each in result.pushed
            ],
            changes.files,
            steps,
        )
        what = ", ".join(f"{each.function} {each.digest.short}" for each in result.pushed)
        files = ", ".join(changes.files[:3]) + (f" and {len(changes.files) - 3} more" if len(changes.files) > 3 else "")
        parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in steps.items() if name != "total")
        self._tell(f"{files}: {what} live after {total:.2f} s ({parts})")

    def _notes(self, event: Event) -> None:
        """A change is one line, so of its steps only what people should read is told."""
        if isinstance(event, Note):
            self.context.report(event)

    def _look_after(self) -> None:
        self._idle_since = time.monotonic()
        self._require_environment()

    def _require_environment(self, *, stacks: bool = False) -> None:
        """Raises _EnvironmentGone when what once stood does not, as after ``down``. stacks: ask the account too."""
        if self.target is None:
            return
        if by := self.presence.called_off_by:
            why = f"{by} deletes it"
        elif not self._target_runs():
            why = "the embedded AWS that it was on ended"
        elif stacks and not self._stacks_stand(self.target):
            why = "its stacks were deleted"
        else:
            return
        environment = self.context.environment
        again = command_line(self.context, "watch")
        raise _EnvironmentGone(
            f"{environment} is not watched any longer", why, f"Run `{again}` to bring {environment} up again."
        )

    def _target_runs(self) -> bool:
        try:
            return self.context.target_name != "local" or self.context.running_target() is not None
        except LocalError:
            return False

    def _stacks_stand(self, target: Target) -> bool:
        """Also where nobody can say: what keeps the account from an answer is told by whatever is tried next."""
        from pipeline.target import explained
        from pipeline.watching import stands

        try:
            with explained(self.context.target_name, "the stacks were not read"):
                return stands(target, self.context.names)
        except PipelineError:
            return True

    def _keep(self, functions: list[dict[str, Any]], files: tuple[str, ...], seconds: Mapping[str, float]) -> None:
        self.releases.append({"functions": functions, "files": list(files), "seconds": dict(seconds)})

    def _tell(self, text: str) -> None:
        self.context.report(Note(f"{time.strftime('%H:%M:%S')}  {text}"))

    def outcome(self) -> Outcome:
        count = len(self.releases)
        result = {
            "environment": self.context.environment,
            "target": self.context.target_name,
            "releases": self.releases,
            "failed": self.failed,
        }
        return Outcome(result, f"{count} change{'' if count == 1 else 's'} released, {self.failed} failed")


# --- logs ------------------------------------------------------------------------------------------------------------


def logs(
    context: Context, *, function: str | None, transaction: str | None, since: str, follow: bool, as_json: bool,
    colour: bool, write: Write,
) -> Outcome:  # fmt: skip
    """Log lines of the functions and the state machine, merged by time; with ``follow`` until Ctrl-C."""
    from pipeline.logs import LogReader, parse_duration, parse_transaction_id
    from pipeline.target import explained

    sources = _log_sources(context, function)
    start = time.time() - _parsed("--since", parse_duration, since).total_seconds()
    wanted = _parsed("--transaction", parse_transaction_id, transaction) if transaction is not None else None
    lines = LogLines([source.name for source in sources], colour)
    count = 0
    with explained(context.target_name, f"the logs of {context.environment} were not read"):
        target = context.running_target()
        reader = LogReader(target.client("logs"), sources, int(start * 1000), wanted)
        events = reader.read()
        if len(reader.missing) == len(sources):
            raise StackError(
                f"the logs of {context.environment} were not read",
                f"there is no log group {', '.join(sorted(reader.missing))}",
                "Run `up`; the pipeline stack makes them.",
            )
        if not follow:
            if not events:
                way = f" on the way of {wanted}" if wanted is not None else ""
                context.report(Note(f"nothing was logged{way} in the last {since}; --since looks further back"))
            document = {"events": [event.to_json() for event in events]}
            return Outcome(document, "" if as_json else "\n".join(lines.text(event) for event in events))
        try:
            while True:
                for event in events:
                    write(json.dumps(event.to_json()) if as_json else lines.text(event))
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
    from pipeline.logs import STATE_MACHINE, LogSource

    names = context.names
    sources = [LogSource(source.name, names.log_group(source.name)) for source in context.sources]
    sources.append(LogSource(STATE_MACHINE, names.state_machine_log_group))
    if function is None:
        return tuple(sources)
    known = {source.name: source for source in sources}
    name = function.removesuffix(f"-{context.environment}") if function not in known else function
    if name not in known:
        raise click.BadParameter(f"there is no {function!r}; choose from {', '.join(known)}", param_hint="'--function'")
    return (known[name],)


# --- invoke ----------------------------------------------------------------------------------------------------------


def invoke(context: Context, *, function: str, event: str, debug: bool, port: int | None, tell: Write) -> Outcome:
    """One function, once: its result, its log, how long it took; exit code 1 when the function failed."""
    from cfn.names import LIVE_ALIAS
    from pipeline.invoking import invoke_function
    from pipeline.target import explained

    source = _function(context, function)
    text = _parsed("EVENT", _json_text, event)
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
        raise click.BadParameter(f"there is no {name!r}; choose from {', '.join(known)}", param_hint="'FUNCTION'")
    return found


def _json_text(text: str) -> bytes:
    try:
        json.loads(text)
    except ValueError as error:
        raise ValueError(f"the event is not JSON: {error}") from error
    return text.encode()


def _measures(invoked: Invoked) -> str:
    units = {"duration": "ms", "init": "ms", "billed": "ms", "memory": "MB"}
    parts = [f"{name} {value:g} {units[name]}" for name, value in invoked.measured.items()]
    if invoked.measured and "init" not in invoked.measured:
        parts.append("no init (it was warm)")
    return f"{invoked.function}: {', '.join([*parts, f'answered after {seconds_text(invoked.seconds)}'])}"


def _debug(
    context: Context, target: Target, source: FunctionSource, event: bytes, port: int | None, tell: Write
) -> Invoked:
    from cfn.names import LIVE_ALIAS
    from pipeline.invoking import Invoked, describe_function, read_payload, read_report
    from pipeline.local.debugging import debug_function
    from pipeline.local.invocation import Status

    if not target.is_local or target.endpoint is None:
        raise LocalError(
            f"{source.name} was not debugged",
            "a debugger can only be attached to a function that runs on this machine",
            "Leave --target out; the local target runs the same image.",
        )
    name = context.names.function(source.name)
    document = describe_function(target, name, qualifier=LIVE_ALIAS)
    started = time.monotonic()
    outcome = debug_function(
        document, source, event, context.local_folder, target.endpoint,
        lambda waiting: tell(_waiting_text(waiting, context.root)), port=port,
    )  # fmt: skip
    log = outcome.log.splitlines()
    return Invoked(
        name, read_payload(outcome.payload), outcome.status is not Status.OK, tuple(log), time.monotonic() - started,
        read_report(log),
    )  # fmt: skip


def _waiting_text(waiting: Waiting, root: Path) -> str:
    """Where the function waits, and what an editor needs to know."""

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
        lines.append(f"not what runs, so lines may be off (run `up` or `watch`): {', '.join(waiting.differs)}")
    lines += ["VS Code, in .vscode/launch.json:", json.dumps(settings, indent=2)]
    local, runs = waiting.mappings[-1]
    lines += ["PyCharm, Attach to DAP:", f"  remote address {waiting.host}:{waiting.port}"]
    lines += [f"  local project path {local}", f"  remote project path {runs}"]
    return "\n".join(lines)
