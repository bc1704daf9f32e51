"""down --expired: delete every environment whose time is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from commands.context import Context, Outcome
from commands.deploying import alone, exclusive, local_stacks, lock_of
from commands.next_steps import command_line
from pipeline.core.errors import NextStep, PipelineError, ReleaseError
from pipeline.core.shown import first_few, shown

if TYPE_CHECKING:
    from pipeline.release.expiry import Expiring
    from pipeline.release.teardown import Kept
    from pipeline.target import Target

_WHAT = "no environment was deleted"


@dataclass(slots=True)
class _Deletions:
    """What became of the environments that had expired."""

    deleted: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    kept: list[tuple[str, Kept]] = field(default_factory=list)
    failed: dict[str, PipelineError] = field(default_factory=dict)


def down_expired(context: Context, *, keep_data: bool, yes: bool) -> Outcome:
    """Delete the expired environments of the account and region of ``context``; one that fails does not stop others."""
    from pipeline.local.host.control import stop_local
    from pipeline.release.expiry import find_expiring
    from pipeline.target import explained

    local = context.target_name == "local"
    if local and not context.local_exists:
        return _outcome(context, (), _Deletions())
    with explained(context.target_name, _WHAT):
        target = context.started_target()
        found = find_expiring(target.client("cloudformation"), context.names)
        due = [each.environment for each in found if each.is_due(datetime.now(UTC))]
        _confirm(context, due, yes=yes)
        done = _Deletions()
        for environment in due:
            own = replace(context, environment=environment)
            try:
                _delete(own, target, done, keep_data=keep_data)
            except PipelineError as error:
                done.failed[environment] = error
        if local and done.deleted and not local_stacks(context):
            stop_local(context.local_folder)
    return _outcome(context, found, done)


def _delete(context: Context, target: Target, done: _Deletions, *, keep_data: bool) -> None:
    """Delete one environment, unless it was changed before this had its lock."""
    from pipeline.core.locks import call_off
    from pipeline.release.expiry import find_expiring
    from pipeline.release.teardown import take_down

    with exclusive(context, "down"), alone(context, target, "down"):
        found = find_expiring(target.client("cloudformation"), context.names)
        if not any(each.environment == context.environment and each.is_due(datetime.now(UTC)) for each in found):
            done.changed.append(context.environment)
            return
        call_off(lock_of(context), command_line(context, "down", "--expired"))
        taken = take_down(target, context.names, context.report, keep_data=keep_data)
        done.deleted.append(context.environment)
        done.kept += [(context.environment, each) for each in taken.kept]


def _confirm(context: Context, due: Sequence[str], *, yes: bool) -> None:
    if yes or not due or context.target_name == "local":
        return
    names = first_few(due, len(due))
    if context.ask is None:
        raise ReleaseError(
            _WHAT,
            f"{names} would be deleted from AWS, and there is no terminal to ask on",
            NextStep("Delete them", ("down", "--expired", "--yes")),
        )
    if context.ask(f"This deletes {names} with their data. Type yes to continue").strip().lower() != "yes":
        raise ReleaseError(_WHAT, "it was not approved", "Run it again and approve it.")


def _outcome(context: Context, found: Sequence[Expiring], done: _Deletions) -> Outcome:
    unreadable = [each for each in found if each.at is None]
    ended = {*done.deleted, *done.failed}
    living = {each.environment: each.at for each in found if each.at is not None and each.environment not in ended}
    lines = [f"deleted {name}" for name in done.deleted]
    lines += [f"{name} was changed meanwhile, and stays" for name in done.changed]
    lines += [f"{name} stays until {when(at)}" for name, at in living.items() if name not in done.changed]
    lines += [f"  kept of {name}: {each.resource.resource_type} {each.resource.name}" for name, each in done.kept]
    lines += [f"{each.environment} stays: its tag cannot be read ({shown(each.why_not)})" for each in unreadable]
    for error in done.failed.values():
        lines += [f"error: {error.what}", f"  why:  {error.why}"]
    result: dict[str, Any] = {
        "deleted": done.deleted,
        "changed": done.changed,
        "living": {name: at.isoformat(timespec="seconds") for name, at in living.items()},
        "kept": [
            {"environment": name, "type": each.resource.resource_type, "name": each.resource.name}
            for name, each in done.kept
        ],
        "unreadable": [{"environment": each.environment, "why": each.why_not} for each in unreadable],
        "failed": [{"environment": name, "what": each.what, "why": each.why} for name, each in done.failed.items()],
    }
    text = "\n".join(lines) or f"no environment on {context.target_name} expires"
    return Outcome(result, text, 1 if done.failed or unreadable else 0)


def when(at: datetime) -> str:
    """A time in UTC, to the minute."""
    return f"{at:%Y-%m-%d %H:%M} UTC"
