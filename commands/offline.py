"""Commands that need no target: check, cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from commands.context import Context, Outcome
from commands.next_steps import error_document
from pipeline.core.errors import PipelineError


def check(context: Context, *, images: Sequence[str]) -> Outcome:
    """Hold images of any registry or layout against Lambda's rules; exit code 1 when one would be refused."""
    from pipeline.bases.inspection import inspect_images

    lines: list[str] = []
    result: list[dict[str, Any]] = []
    for text in images:
        try:
            inspected = inspect_images(text)
        except PipelineError as problem:
            if len(images) == 1:
                raise
            # The others are judged all the same.
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


def cost(context: Context, *, transactions: int, prices: Path | None) -> Outcome:
    """What the pipeline costs, computed from its synthesised template; needs no credentials."""
    from pipeline.core.files import cache_folder
    from pipeline.environment.synth import synthesise
    from pipeline.transactions.cost import compute_cost
    from pipeline.transactions.prices import PRICES, Prices

    templates = synthesise(context.settings, [source.definition for source in context.sources], cache_folder())
    bill = compute_cost(json.loads(templates.pipeline), Prices.load(prices or PRICES), transactions=transactions)
    return Outcome(bill.to_json(), bill.text())
