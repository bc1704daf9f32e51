"""Commands that change what stands, or show what would: up, infra, build, synth, down."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.context import Context, Outcome
from commands.deploying import build_of, command_line, deployment_of, releaser
from commands.display import seconds_text
from pipeline.blobs import cache_folder
from pipeline.events import step

if TYPE_CHECKING:
    from pipeline.release import Released

SAMPLE = {
    "transaction_id": "test-123",
    "amount": 100,
    "currency": "USD",
    "merchant_id": "merchant-001",
    "customer_id": "customer-001",
}


def up(context: Context, *, smoke: bool, sbom: bool, skip_doctor: bool = False) -> Outcome:
    """Both phases; afterwards every function runs what was built here, and a sample transaction was answered.

    On AWS the account is looked at first (``doctor``), and an error found there stops it before anything is made.
    """
    from commands.doctor import require_healthy
    from pipeline.release import release
    from pipeline.target import explained

    started = time.monotonic()
    build = build_of(context, sbom=sbom)  # before anything starts: bad input must cost nothing
    with explained(context.target_name, f"{context.environment} was not released"):
        target = context.started_target()
        if not target.is_local and not skip_doctor:
            require_healthy(context, target)
        deployment = deployment_of(context, target, build)
        released = release(deployment, context.report, by=releaser(context, target), smoke=smoke)
    return _released(context, released, time.monotonic() - started)


def _released(context: Context, released: Released, seconds: float) -> Outcome:
    result: dict[str, Any] = {
        "environment": context.environment,
        "target": context.target_name,
        "changed": released.changed,
        "release": released.record.number if released.record else None,
        "stacks": [{"name": stack.stack, "changed": stack.changed} for stack in released.stacks],
        "functions": [
            {"name": context.names.function(image.function), "image": image.uri, "digest": str(image.digest)}
            for image in released.functions
        ],
        "seconds": {**released.seconds, "total": round(seconds, 3)},
    }
    head = f"{context.environment} is up on {context.target_name}"
    if released.record:
        head += f", release {released.record.number}"
    lines = [f"{head}{'' if released.changed else '; nothing had changed'}, {seconds_text(seconds)}"]
    lines += [f"  {context.names.function(image.function):<40} {image.digest.short}" for image in released.functions]
    if released.sample is not None:
        result["sample"] = {"transaction_id": released.sample.transaction_id, "outcome": released.sample.outcome}
        lines.append(f"  a sample transaction was answered: {released.sample.outcome}")
    sample = json.dumps(SAMPLE, separators=(",", ":"))
    commands = (f"submit '{sample}'", "status", "down")
    lines += ["", "Next:", *(f"  {command_line(context, command)}" for command in commands)]
    return Outcome(result, "\n".join(lines))


def infra(context: Context) -> Outcome:
    """Both stacks without building anything."""
    from pipeline.release import prepare
    from pipeline.target import explained

    build = build_of(context)
    with explained(context.target_name, f"the infrastructure of {context.environment} was not made"):
        prepared = prepare(deployment_of(context, context.started_target(), build), context.report)
    return Outcome(
        {
            "environment": context.environment,
            "changed": prepared.changed,
            "stacks": [{"name": stack.stack, "changed": stack.changed} for stack in prepared.stacks],
            "seconds": prepared.seconds,
        },
        f"both stacks of {context.environment} stand{'' if prepared.changed else '; nothing had changed'}\n\n"
        f"Next:\n  {command_line(context, 'up')}",
    )


def build(context: Context, *, output: Path | None) -> Outcome:
    """Build and check every function's image; pushes nothing and needs no target."""
    from pipeline.release import build_images

    plan = build_of(context)
    images = build_images(plan, context.report)
    if output is not None:
        from pipeline.layout import write_layout

        write_layout(images, output, plan.store)
    return Outcome(
        {
            "platform": str(context.platform),
            "functions": [{"name": each.function, "digest": str(each.image.digest)} for each in images],
        },
        "\n".join(f"{each.function:<28} {each.image.digest}" for each in images),
    )


def synth(context: Context, *, out: Path) -> Outcome:
    """Write ``registry.json`` and ``pipeline.json``; needs neither a target nor credentials."""
    from pipeline.synth import synthesise, write_atomically

    templates = synthesise(context.settings, [source.definition for source in context.sources], cache_folder())
    files = {"registry": out / "registry.json", "pipeline": out / "pipeline.json"}
    for name, path in files.items():
        document = json.loads(getattr(templates, name))
        write_atomically(path, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode())
    return Outcome({name: str(path) for name, path in files.items()}, "\n".join(str(path) for path in files.values()))


def down(context: Context) -> Outcome:
    """Delete the environment's stacks; the embedded AWS stops when no other environment is left on it."""
    from pipeline.stacks import delete_stack, read_stack
    from pipeline.target import explained

    if context.target_name == "local":
        from pipeline.local.control import find_local, stop_local

        if find_local(context.local_folder) is None:
            stop_local(context.local_folder)
            return Outcome({"deleted": [], "stopped": False}, "nothing runs")
    deleted: list[str] = []
    with explained(context.target_name, f"{context.environment} was not taken down"):
        target = context.running_target()
        cloudformation = target.client("cloudformation")
        for name in (context.names.pipeline_stack, context.names.registry_stack):
            if read_stack(cloudformation, name).status.gone:
                continue
            with step(context.report, "delete", name):
                delete_stack(cloudformation, name, context.report)
            deleted.append(name)
        others = _other_environments(cloudformation) if context.target_name == "local" else ["aws"]
    stopped = False
    if not others:
        from pipeline.local.control import stop_local

        stopped = stop_local(context.local_folder)
    text = "\n".join([*(f"deleted {name}" for name in deleted), *(["the embedded AWS stopped"] if stopped else [])])
    return Outcome({"deleted": deleted, "stopped": stopped}, text or "nothing was there")


def _other_environments(cloudformation: Any) -> list[str]:
    pages = cloudformation.get_paginator("describe_stacks").paginate()
    return [stack["StackName"] for page in pages for stack in page["Stacks"]]
