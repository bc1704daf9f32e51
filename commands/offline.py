"""Commands that need no target: check, rules, cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from commands.context import Context, Outcome
from commands.declared import Text, command, file
from commands.next_steps import error_document
from pipeline.core.errors import PipelineError


@command(
    "Check any image against Lambda's rules.",
    click.Argument(["images"], metavar="IMAGE...", type=Text(), nargs=-1, required=True),
)
def check(context: Context, *, images: Sequence[str]) -> Outcome:
    """Check images against Lambda's rules: registry/name:tag, registry/name@sha256:…, or a layout, oci:DIR[:NAME].

    Exit code 1 if Lambda would reject one.
    """
    from pipeline.bases.inspection import inspect_images
    from pipeline.oci.registry.client import connect

    lines: list[str] = []
    result: list[dict[str, Any]] = []
    for text in images:
        try:
            inspected = inspect_images(text, open_registry=partial(connect, report=context.report))
        except PipelineError as problem:
            if len(images) == 1:
                raise
            # Check the other images too.
            error = error_document(context, problem)
            lines += [f"{text}  not checked", f"  {problem.what}: {problem.why}. {error['next_step']}"]
            result.append({"image": text, "accepted": False, "error": error})
            continue
        for each in inspected:
            lines.append(f"{each.name}  {'refused' if each.findings else 'accepted'}  {each.digest}")
            lines += [f"  {finding.rule}: {finding.message}. {finding.cure}" for finding in each.findings]
            findings = [
                {"rule": finding.rule, "message": finding.message, "cure": finding.cure, "source": finding.source}
                for finding in each.findings
            ]
            result.append(
                {
                    "image": each.name,
                    "digest": str(each.digest),
                    "accepted": not each.findings,
                    "findings": findings,
                }
            )
    return Outcome({"images": result}, "\n".join(lines), 0 if all(each["accepted"] for each in result) else 1)


@command("Print the folder of the cfn-lint rules.")
def rules(_context: Context) -> Outcome:
    """Print the folder of the cfn-lint rules, for any template: cfn-lint -a "$(./bootstrap.py rules)" -t template.yaml

    cfn-lint has no plugin entry points; -a takes a folder.
    """
    from pipeline.environment.linting import rules_folder

    folder = rules_folder()
    return Outcome({"rules": str(folder)}, str(folder))


@command(
    "Estimate the cost on AWS.",
    click.Option(
        ["--transactions"], type=click.IntRange(min=1), default=1_000_000, show_default=True, help="In a month."
    ),
    file("--prices", "Another price list.", exists=True),
)
def cost(context: Context, *, transactions: int, prices: Path | None) -> Outcome:
    """What transactions cost on AWS, and what the environment costs anyway each month. Needs no credentials.

    Without the transaction pipeline: what a million invocations of each function cost.
    """
    from cfn.settings import Entrance
    from pipeline.core.files import cache_folder
    from pipeline.environment.synth import synthesise
    from pipeline.transactions.cost import compute_cost
    from pipeline.transactions.entrance_cost import entrance_costs, file_entrance_cost
    from pipeline.transactions.prices import PRICES, Prices

    functions = [source.definition for source in context.sources]
    templates = synthesise(context.settings, functions, cache_folder())
    if not context.settings.has_transactions:
        from pipeline.transactions.function_cost import compute_function_cost

        invoked = compute_function_cost(
            json.loads(templates.pipeline), functions, context.names, Prices.load(prices or PRICES)
        )
        return Outcome(invoked.to_json(), invoked.text())
    listed = Prices.load(prices or PRICES)
    through = [*entrance_costs(context.settings, functions, listed)]
    if Entrance.FILES in context.settings.entrances:
        through.append(file_entrance_cost(listed))
    bill = replace(
        compute_cost(json.loads(templates.pipeline), listed, transactions=transactions), entrances=tuple(through)
    )
    return Outcome(bill.to_json(), bill.text())
