"""The command doctor, and its checks as the gate before a release to AWS."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.context import Context, Outcome
from commands.declared import command, folder
from commands.next_steps import arguments, spelled
from commands.progress import seconds_text
from pipeline.core.errors import NextStep
from pipeline.core.shown import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipeline.doctor import CheckResult
    from pipeline.target import Target


@command(
    "Check account and region before a deployment.",
    click.Option(
        ["--policy"],
        is_flag=False,
        flag_value="all",
        metavar="[COMMAND]",
        help="Print the least IAM policy for COMMAND, or for each command, instead of checking.",
    ),
    folder("--out", "With --policy: write it as files of which each fits into a managed policy."),
)
def doctor(context: Context, *, policy: str | None = None, out: Path | None = None) -> Outcome:
    """Check account and region for anything that would make a deployment fail. Changes nothing.

    Exit code 1 for an error; on AWS also if a check that `up` relies on could not be made.
    """
    if policy is None and out is not None:
        raise click.UsageError("--out needs --policy.")
    return _examine(context) if policy is None else _policy(context, policy, out)


def _examine(context: Context) -> Outcome:
    from pipeline.doctor import Status
    from pipeline.target import explained

    started = time.monotonic()
    with explained(context.target_name, f"{context.environment} was not examined"):
        target = context.running_target()
        results = (*examine(context, target), *_isolation(context, target))
    healthy = not any(_is_bad(each, target) for each in results)
    counts = {str(status): sum(each.status is status for each in results) for status in Status}
    result = {
        "environment": context.environment,
        "target": context.target_name,
        "healthy": healthy,
        "counts": counts,
        "checks": [_to_json(context, each) for each in results],
        "seconds": round(time.monotonic() - started, 3),
    }
    lines = [line for each in results for line in _lines(context, each)]
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    lines += ["", f"{len(results)} checks: {said}, {seconds_text(time.monotonic() - started)}"]
    return Outcome(result, "\n".join(lines), 0 if healthy else 1)


def _isolation(context: Context, target: Target) -> Iterator[CheckResult]:
    """The isolation of local functions; nothing on AWS or under docker compose."""
    from pipeline.doctor import CheckResult, Status

    local = context.local_aws() if target.is_local else None
    if local is not None and local.isolation:
        status = Status.WARNING if local.unsafe else Status.OK
        yield CheckResult("isolation", status, local.isolation, NextStep(local.unsafe))


def _is_bad(each: CheckResult, target: Target) -> bool:
    """Whether a result is an error, or on AWS unknown although `up` relies on it."""
    from pipeline.doctor import Status
    from pipeline.doctor.checks import RELIED_ON

    missing = each.status is Status.UNKNOWN and each.name in RELIED_ON and not target.is_local
    return missing or each.status is Status.ERROR


def _policy(context: Context, command: str, out: Path | None) -> Outcome:
    """The least IAM policy for a command, or for each with "all"; needs no credentials."""
    from botocore.session import get_session

    from commands.deploying import key_of
    from pipeline.assembly.proof.kms import KmsKey
    from pipeline.core.files import cache_folder
    from pipeline.doctor.key_policy import key_statements
    from pipeline.doctor.permissions import POLICIES
    from pipeline.doctor.policy import policy_of
    from pipeline.environment.synth import synthesise
    from pipeline.target import DEFAULT_REGION, partition_of

    if command not in ("all", *POLICIES):
        raise click.BadParameter(f"{command!r} is not one of {', '.join(POLICIES)}", param_hint="'--policy'")
    on_aws = replace(context, target_name="aws")
    definitions = [source.definition for source in on_aws.sources]
    templates = synthesise(on_aws.settings, definitions, cache_folder())
    session = get_session()
    region = (
        context.chosen_region or os.environ.get("AWS_REGION") or session.get_config_variable("region") or DEFAULT_REGION
    )
    policies = {
        name: policy_of(
            name,
            (templates.registry, templates.pipeline),
            context.names,
            [definition.name for definition in definitions],
            partition_of(region, session),
            region,
        )
        for name in (POLICIES if command == "all" else (command,))
    }
    keys = [
        key if isinstance(key := key_of(context, name), KmsKey) else None
        for name in (context.choices.signing_key or "", context.choices.verification_key or "")
    ]
    for name, policy in policies.items():
        policy["Statement"] += key_statements(name, keys[0], keys[1], partition_of(region, session), region)
    if out is not None:
        return _written(policies, out)
    result = policies if command == "all" else policies[command]
    return Outcome(result, json.dumps(result, indent=2))


def _written(policies: Mapping[str, dict[str, Any]], folder: Path) -> Outcome:
    """Write the parts of each policy as ``COMMAND-NUMBER.json``; those of an earlier, longer policy are deleted."""
    from pipeline.core.files import storing, write_atomically
    from pipeline.doctor.policy_parts import policy_parts

    written: dict[str, list[str]] = {}
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, policy in policies.items():
            parts = {folder / f"{name}-{number}.json": part for number, part in enumerate(policy_parts(policy), 1)}
            for path, part in parts.items():
                write_atomically(path, f"{json.dumps(part, indent=2)}\n".encode())
            for path in folder.glob(f"{name}-[0-9]*.json"):
                if path not in parts and path.stem.removeprefix(f"{name}-").isdecimal():
                    path.unlink()
            written[name] = [str(path) for path in parts]
    return Outcome({"files": written}, "\n".join(path for paths in written.values() for path in paths))


def examine(context: Context, target: Target) -> tuple[CheckResult, ...]:
    """All checks on ``target`` for the context's environment."""
    from pipeline.core.files import cache_folder
    from pipeline.doctor import run_checks
    from pipeline.environment.synth import synthesise

    templates = synthesise(context.settings, [source.definition for source in context.sources], cache_folder())
    return run_checks(target, context.settings, context.sources, context.names, templates)


def require_healthy(context: Context, target: Target) -> None:
    """The gate before a release: reports warnings, raises AccountError with all errors."""
    from pipeline.core.errors import AccountError, NextStep
    from pipeline.core.events import Note, step
    from pipeline.doctor import Status

    with step(context.report, "doctor") as running:
        results = examine(context, target)
        errors = [each for each in results if each.status is Status.ERROR]
        warnings = [
            each for each in results if each.status is Status.WARNING or (each not in errors and _is_bad(each, target))
        ]
        running.detail = ", ".join(map(counted, map(len, (results, errors, warnings)), ("check", "error", "warning")))
    for each in warnings:
        context.report(Note(f"{each.name}: {each.evidence}. {spelled(context, each.cure)}"))
    if errors:
        raise AccountError(
            f"{context.environment} was not released, and nothing was changed",
            _together([f"{each.name}: {each.evidence}" for each in errors]),
            NextStep(
                _together([f"{each.name}: {spelled(context, each.cure)}" for each in errors])
                + " To continue without these checks",
                ("up", "--skip-doctor"),
            ),
        )


def _together(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else "".join(f"\n  - {text}" for text in texts) + "\n "


def _to_json(context: Context, each: CheckResult) -> dict[str, Any]:
    return {
        "name": each.name,
        "status": str(each.status),
        "evidence": each.evidence,
        "cure": spelled(context, each.cure),
        "commands": [arguments(context, command) for command in each.cure.commands],
        "seconds": each.seconds,
    }


def _lines(context: Context, each: CheckResult) -> list[str]:
    lines = [f"{each.status:<8} {each.name:<22} {each.evidence}"]
    return [*lines, f"{'':<31} {spelled(context, each.cure)}"] if each.cure.text else lines
