"""The commands watch and serve: they release each saved change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cfn.events.kinds import Route
from commands.asking import confirm_watching
from commands.context import Context, Outcome
from commands.declared import BASE, RUNTIME, command, flag
from commands.deploying import alone, build_of, deployment_of, exclusive, lock_of
from commands.next_steps import command_line, spelled
from commands.progress import seconds_text
from pipeline.core.errors import (
    CheckFailed,
    DependencyError,
    LocalError,
    NextStep,
    NotApproved,
    PipelineError,
    SettingsError,
    SourceError,
    StackError,
)
from pipeline.core.events import Event, Note

if TYPE_CHECKING:
    from pipeline.core.locks import Presence
    from pipeline.release.watch import Changes, QuickRelease
    from pipeline.target import Target


@command(
    "Release every saved change.",
    BASE,
    RUNTIME,
    flag("--yes", "Do not ask before a resource is replaced or deleted, nor, on AWS, before the start."),
    drawn=False,
)
def watch(context: Context, *, yes: bool) -> Outcome:
    """Deploy the environment, then release each function when one of its files is saved, until Ctrl-C."""
    confirm_watching(context, yes=yes)
    return _watch(context, yes=yes)


@command(
    "Serve the HTTP routes here, and release every saved change.",
    BASE,
    RUNTIME,
    click.Option(
        ["--port"], type=click.IntRange(1, 65535), default=3000, show_default=True, metavar="PORT",
        help="Listen there, on 127.0.0.1.",
    ),
    flag("--yes", "Do not ask before a resource is replaced or deleted."),
    drawn=False,
)  # fmt: skip
def serve(context: Context, *, port: int, yes: bool) -> Outcome:
    """Deploy the environment to this machine, then answer the routes of its HTTP API on a fixed port, and release each
    function when one of its files is saved, until Ctrl-C.

    Requests without an Authorization header are signed, so that routes with auth = "iam" answer too; one with a header
    passes as it is. Web pages of other origins are refused.
    """
    from pipeline.operations.route_server import RouteServer, signing
    from pipeline.stacks import read_stack

    what = "the routes were not served"
    if context.target_name != "local":
        raise SettingsError(
            what, "API Gateway serves them on AWS", NextStep("Deploy them; up prints the address", ("up",))
        )
    if not any(isinstance(event, Route) for source in context.sources for event in source.definition.events):
        raise SettingsError(what, "no function of the project has an event of the type http", _ADD_ROUTE)

    routes = RouteServer(port, lambda line: tell(context, line))
    with ExitStack() as serving:

        def released(watcher: _Watcher) -> None:
            """Begin to serve, or go on with what the last release deployed."""
            if (target := watcher.target) is None:
                return
            begun = routes.api
            stack = read_stack(target.client("cloudformation"), context.names.pipeline_stack)
            routes.forward_to(stack.outputs.get("ApiUrl", ""), signing(target.credentials, target.region))
            if routes.api and not begun:
                serving.enter_context(routes)
                tell(context, f"serving {routes.url}")

        return _watch(context, yes=yes, released=released)


_ADD_ROUTE = NextStep('Add [[events]] with type = "http" and route = "GET /hello" to a function.toml.')


def tell(context: Context, text: str) -> None:
    context.report(Note(f"{time.strftime('%H:%M:%S')}  {text}"))


def _watch(context: Context, *, yes: bool, released: Callable[[_Watcher], None] = lambda _watcher: None) -> Outcome:
    """Release everything, and then what is saved, until Ctrl-C. released: called after each release that succeeded."""
    from pipeline.core.locks import present
    from pipeline.release.watch import saved_files

    with present(lock_of(context)) as presence:
        watcher = _Watcher(context, presence, yes, released)
        with suppress(KeyboardInterrupt):
            for paths in saved_files(context.images_folder):
                watcher.take(paths)
        return watcher.outcome()


# Errors that saving a file can fix: they are reported, and watching continues.
_FIXED_BY_SAVING = (SourceError, SettingsError, DependencyError, CheckFailed)


class _EnvironmentGone(StackError):
    """The environment was deleted. Ends watching, because a save must not create it again."""


@dataclass
class _Watcher:
    """The watched environment and the changes not yet released.

    presence  reports that another process deletes the environment
    yes       do not ask before a change that loses data
    released  called after a release
    broken    the last release of a saved change failed
    refused   the files contain a change that loses data and was not approved
    """

    context: Context
    presence: Presence
    yes: bool = False
    released: Callable[[_Watcher], None] = lambda _watcher: None
    target: Target | None = None
    quick: QuickRelease | None = None
    users: Mapping[str, frozenset[str]] = field(default_factory=dict)
    pending: Changes | None = None
    releases: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0
    broken: bool = False
    refused: bool = False
    _idle_since: float = field(default_factory=time.monotonic)

    def take(self, paths: set[Path]) -> None:
        """Release a batch of changes, and those left by earlier failures. The first batch releases everything."""
        from pipeline.release.watch import Changes, judge_changes, named_files, seen_after
        from pipeline.target import explained

        first = self.pending is None
        pending = self.pending if self.pending is not None else Changes(whole=True)
        images = self.context.images_folder
        if not (first or paths):
            self._look_after()
            return
        try:
            found = judge_changes(paths, images, self.users)
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
            self.released(self)
        except _EnvironmentGone:
            raise
        except PipelineError as error:
            fixable = isinstance(error, _FIXED_BY_SAVING)
            if first and not fixable:
                raise
            if not fixable:
                if self.quick is not None:
                    self._require_environment(stacks=True)
                self.quick = None  # the environment may have changed: the next change is a whole release
            self.failed += 1
            self.broken = True
            next_step = NextStep("The running version stays live.") if fixable else error.next_step
            self._tell(f"{error.what}: {error.why}. {spelled(self.context, next_step)}")
        self._idle_since = time.monotonic()

    def _release(self, pending: Changes, found: Changes, seen: float) -> None:
        if pending.whole or self.quick is None:
            self._release_whole(found)
        else:
            assert self.target is not None  # noqa: S101  (set with ``quick``)
            command = "the release by watch of"
            with exclusive(self.context, command), alone(self.context, self.target, "watch"):
                self._require_environment()
                self._release_quickly(pending, self.quick, seen)

    def _go_on_without(self, refusal: NotApproved, pending: Changes, seen: float) -> None:
        """Report an unapproved change once and hold it back; release all other saved changes, now and later."""
        self.failed += 1
        self.refused = True
        if self.context.ask is None:
            beside = f", or approve it in another shell: {command_line(self.context, 'up', '--yes')}"
        else:
            beside = f", or approve it: {command_line(self.context, 'up')}"
        step = spelled(self.context, refusal.next_step)
        self._tell(f"{refusal.what}: {refusal.why}. {step}{beside}. Other saved changes are still released.")
        self._look_up()
        known = frozenset[str]().union(*self.users.values())
        others = replace(pending, functions=pending.functions & known, whole=False)
        self.pending = others
        if others:
            self._release(others, others, seen)

    def _look_up(self) -> None:
        """Read the deployed environment, into which the following changes are released."""
        from pipeline.release.watch import QuickRelease

        target = self.context.running_target()
        if self.target is None or (self.target.endpoint, self.target.identity) != (target.endpoint, target.identity):
            self.target = target
        self.quick = QuickRelease(deployment_of(self.context, self.target, build_of(self.context, sbom=False)))
        self.users = self.quick.users

    def _release_whole(self, found: Changes) -> None:
        """Release both stacks and every function like ``up``, without the sample transaction."""
        from commands import releasing

        started = time.monotonic()
        self.quick = None
        context = self.context = replace(self.context)  # drops cached values, which may have changed
        outcome = releasing.up(
            context, smoke=False, sbom=True, yes=self.yes, repeat=("watch",),
            ready=lambda: self._require_environment(stacks=True),
        )  # fmt: skip
        self._look_up()
        seconds = time.monotonic() - started
        if found:
            functions = [{"name": each["name"], "digest": each["digest"]} for each in outcome.result["functions"]]
            self._keep(functions, found.files, {"total": round(seconds, 3)})
        cause = f"{', '.join(found.files)}: " if found.files else ""
        cause += "fixed; " if self.broken or self.refused else ""
        self.refused = False
        self._tell(f"{cause}{context.environment} is up to date, {seconds_text(seconds)}; watching images/")

    def _release_quickly(self, changes: Changes, quick: QuickRelease, seen: float) -> None:
        result = quick.release(changes.functions, self._notes)
        if not result.pushed:
            if self.broken:
                rest = "" if self.refused else "; the running version is up to date"
                self._tell(f"{', '.join(changes.files)}: fixed{rest}")
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
        """Report only notes: a change is one line, without its steps."""
        if isinstance(event, Note):
            self.context.report(event)

    def _look_after(self) -> None:
        self._idle_since = time.monotonic()
        self._require_environment()

    def _require_environment(self, *, stacks: bool = False) -> None:
        """Raises _EnvironmentGone if the environment was deleted. stacks: also read the stacks from the account."""
        if self.target is None:
            return
        if by := self.presence.called_off_by:
            why = f"{by} deletes it"
        elif (running := self._running_target()) is None:
            why = "its embedded AWS stopped"
        elif running.identity != self.target.identity:
            why = f"{running.identity} runs in place of its embedded AWS, {self.target.identity}"
        elif stacks and not self._stacks_exist(self.target):
            why = "its stacks were deleted"
        else:
            return
        environment = self.context.environment
        raise _EnvironmentGone(f"{environment} is no longer watched", why, NextStep("Deploy it again", ("watch",)))

    def _running_target(self) -> Target | None:
        """What runs now; None if nothing does."""
        if self.context.target_name != "local":
            return self.target
        try:
            return self.context.running_target()
        except LocalError:
            return None

    def _stacks_exist(self, target: Target) -> bool:
        """True also if the account cannot be read: the next operation reports why."""
        from pipeline.release.watch import stacks_exist
        from pipeline.target import explained

        try:
            with explained(self.context.target_name, "the stacks were not read"):
                return stacks_exist(target, self.context.names)
        except PipelineError:
            return True

    def _keep(self, functions: list[dict[str, Any]], files: tuple[str, ...], seconds: Mapping[str, float]) -> None:
        place = {"aws": self.target.place(str(self.quick.stack_id))} if self.target and self.quick else {}
        self.releases.append({**place, "functions": functions, "files": list(files), "seconds": dict(seconds)})

    def _tell(self, text: str) -> None:
        tell(self.context, text)

    def outcome(self) -> Outcome:
        count = len(self.releases)
        result = {
            "environment": self.context.environment,
            "target": self.context.target_name,
            "releases": self.releases,
            "failed": self.failed,
        }
        return Outcome(result, f"{count} change{'' if count == 1 else 's'} released, {self.failed} failed")
