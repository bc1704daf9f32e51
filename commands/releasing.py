"""Commands that change what stands, or show what would: up, infra, build, synth, down."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from commands.context import Context, Outcome
from commands.display import seconds_text
from pipeline.blobs import BlobStore, cache_folder
from pipeline.events import step

SAMPLE = {
    "amount": 100,
    "currency": "USD",
    "merchant_id": "merchant-001",
    "customer_id": "customer-001",
}


def up(context: Context, *, smoke: bool) -> Outcome:
    """Both phases; afterwards every function runs what was built here, and a sample transaction was answered."""
    from pipeline.release import release
    from pipeline.target import explained

    started = time.monotonic()
    with explained(context.target_name, f"{context.environment} was not released"):
        deployment = deployment_of(context, started=True)
        released = release(deployment, context.report)
        answer = None
        if smoke and released.changed:
            answer = _smoke(context, deployment, released)
    total = time.monotonic() - started
    result: dict[str, Any] = {
        "environment": context.environment,
        "target": context.target_name,
        "changed": released.changed,
        "stacks": [{"name": stack.stack, "changed": stack.changed} for stack in released.stacks],
        "functions": [
            {"name": context.names.function(image.function), "image": image.uri, "digest": str(image.digest)}
            for image in released.functions
        ],
        "seconds": {**released.seconds, "total": round(total, 3)},
    }
    if answer is not None:
        result["sample"] = {"transaction_id": answer.transaction_id, "outcome": answer.outcome}
    lines = [
        f"{context.environment} is up on {context.target_name}"
        + ("" if released.changed else "; nothing had changed")
        + f", {seconds_text(total)}",
        *(f"  {context.names.function(image.function):<40} {image.digest.short}" for image in released.functions),
    ]
    if answer is not None:
        lines.append(f"  a sample transaction was answered: {answer.outcome}")
    sample = json.dumps({"transaction_id": "test-123", **SAMPLE}, separators=(",", ":"))
    commands = (f"submit '{sample}'", "status", "down")
    lines += ["", "Next:", *(f"  {_again(context, command)}" for command in commands)]
    return Outcome(result, "\n".join(lines))


def infra(context: Context) -> Outcome:
    """Both stacks without building anything."""
    from pipeline.release import prepare
    from pipeline.target import explained

    with explained(context.target_name, f"the infrastructure of {context.environment} was not made"):
        deployment = deployment_of(context, started=True)
        prepared = prepare(deployment, context.report)
    return Outcome(
        {
            "environment": context.environment,
            "changed": prepared.changed,
            "stacks": [{"name": stack.stack, "changed": stack.changed} for stack in prepared.stacks],
            "seconds": prepared.seconds,
        },
        f"both stacks of {context.environment} stand{'' if prepared.changed else '; nothing had changed'}\n\n"
        f"Next:\n  {_again(context, 'up')}",
    )


def build(context: Context) -> Outcome:
    """Build and check every function's image; pushes nothing and needs no target."""
    from pipeline.base import choose_base
    from pipeline.release import build_images

    store = BlobStore(cache_folder())
    base = choose_base(_base(context), context.platform, store, report=context.report)
    images = build_images(context.sources, context.platform, base, store, context.report, _slim(context))
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


def deployment_of(context: Context, *, started: bool = False) -> Any:
    """What a release of the context's environment is made from."""
    from pipeline.release import Deployment

    sources, platform = context.sources, context.platform  # before anything starts: bad input must cost nothing
    target = context.started_target() if started else context.running_target()
    return Deployment(
        target, context.settings, sources, platform, _base(context), BlobStore(cache_folder()), _slim(context)
    )


def _slim(context: Context) -> Any:
    from pipeline.slim import Slim

    choices = context.choices
    return Slim.for_sources(context.sources, enabled=choices.slim is not False, byte_code=bool(choices.byte_code))


def _base(context: Context) -> str:
    """Processes of this machine need no base: their images hold everything but the interpreter."""
    return "empty" if context.target_name == "local" else (context.choices.base or "")


def _smoke(context: Context, deployment: Any, released: Any) -> Any:
    import uuid

    from pipeline.transactions import submit

    outputs = released.stacks[-1]
    with step(context.report, "sample transaction") as running:
        answer = submit(
            deployment.target.client("stepfunctions"),
            outputs["StateMachineArn"],
            json.dumps({"transaction_id": f"sample-{uuid.uuid4()}", **SAMPLE}),
        )
        running.detail = answer.outcome
    return answer


def _other_environments(cloudformation: Any) -> list[str]:
    pages = cloudformation.get_paginator("describe_stacks").paginate()
    return [stack["StackName"] for page in pages for stack in page["Stacks"]]


def _again(context: Context, command: str) -> str:
    """A command line of ours that speaks of the same environment."""
    parts = ["./bootstrap.py", command]
    if context.environment != "dev":
        parts += ["--environment", context.environment]
    if context.target_name != "local":
        parts += ["--target", context.target_name]
    if context.region:
        parts += ["--region", context.region]
    return " ".join(parts)
