"""Commands that need no target: check, cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from commands.context import Context, Outcome


def check(_context: Context, *, images: Sequence[str]) -> Outcome:
    """Hold images of any registry or layout against Lambda's rules; exit code 1 when one would be refused."""
    from pipeline.inspection import inspect_images

    inspected = [each for text in images for each in inspect_images(text)]
    lines = []
    for each in inspected:
        lines.append(f"{each.name}  {'refused' if each.findings else 'accepted'}  {each.digest}")
        lines += [f"  {finding.rule}: {finding.message}. {finding.cure}" for finding in each.findings]
    result = [
        {
            "image": each.name,
            "digest": str(each.digest),
            "accepted": not each.findings,
            "findings": [
                {"rule": finding.rule, "message": finding.message, "cure": finding.cure, "source": finding.source}
                for finding in each.findings
            ],
        }
        for each in inspected
    ]
    return Outcome({"images": result}, "\n".join(lines), 1 if any(each.findings for each in inspected) else 0)


def cost(context: Context, *, transactions: int, prices: Path | None) -> Outcome:
    """What the pipeline costs, computed from its synthesised template; needs no credentials."""
    from pipeline.files import cache_folder
    from pipeline.synth import synthesise
    from pipeline.workflow.cost import PRICES, Prices, compute_cost

    templates = synthesise(context.settings, [source.definition for source in context.sources], cache_folder())
    bill = compute_cost(json.loads(templates.pipeline), Prices.load(prices or PRICES), transactions=transactions)
    return Outcome(bill.to_json(), bill.text())
