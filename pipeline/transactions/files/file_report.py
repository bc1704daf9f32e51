"""What came of a file: counts, sums per currency, lines without a decision by number, and cost. Pure."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from pipeline.transactions.results_file import Done
from pipeline.transactions.transaction_lines import Line

# Outcomes that moved no money and whose lines the sender has to look at.
_TO_CORRECT = ("REJECTED", "CONFLICT", "malformed", "parked", "unanswered")
# Line numbers of one outcome that are named; a file may have millions.
NAMED_MAX = 1_000


@dataclass(slots=True)
class FileReport:
    """Amounts are exact decimals in the currency's own unit, by outcome; only decided lines have one."""

    lines: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    sums: dict[str, dict[str, Decimal]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Decimal)))
    numbers: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def to_json(self) -> dict[str, Any]:
        return {
            "lines": self.lines,
            "counts": dict(sorted(self.counts.items())),
            "sums": {
                currency: {outcome: str(total) for outcome, total in sorted(sums.items())}
                for currency, sums in sorted(self.sums.items())
            },
            "to_correct": dict(sorted(self.numbers.items())),
        }


def report_of(lines: Iterable[Line], done: Callable[[Line], Done | None]) -> FileReport:
    """The report of a file. ``done`` gives the result of a line, None for one that has none."""
    report = FileReport()
    for line in lines:
        result = done(line)
        outcome = result.outcome if result is not None else "unanswered"
        report.lines += 1
        report.counts[outcome] += 1
        if outcome in _TO_CORRECT and len(report.numbers[outcome]) < NAMED_MAX:
            report.numbers[outcome].append(line.number)
        if outcome in ("APPROVED", "REVIEW", "DECLINED"):
            currency, amount = _amount(line.text)
            report.sums[currency][outcome] += amount
    return report


def _amount(text: str) -> tuple[str, Decimal]:
    """Currency and amount of a transaction that was valid, so both are there, in one of the forms that are valid."""
    document = json.loads(text, parse_float=Decimal)
    try:
        return str(document["currency"]).strip().upper(), Decimal(str(document["amount"]).strip())
    except (KeyError, TypeError, InvalidOperation):
        return "", Decimal(0)
