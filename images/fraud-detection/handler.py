"""Lambda entry point of fraud-detection."""

from __future__ import annotations

from pathlib import Path

from history import CustomerHistory
from scoring import FraudRules, assess
from transactions.invocation import Invocation, MetricUnit, Response, lambda_handler, logger, metrics
from velocity import count_windows

RULES = FraudRules.load(Path(__file__).with_name("rules"))


def judge(invocation: Invocation) -> Response:
    """``{"score": 0..100, "reasons": [{rule, points, message}…]}``."""
    transaction = invocation.canonical_transaction()
    history = CustomerHistory.parse(invocation.event.get("history"))
    occurred_at = transaction.timestamp or invocation.received_at
    history.check_reach(RULES.windows, occurred_at)
    velocity = count_windows(history.transactions, transaction.transaction_id, occurred_at, RULES.windows)
    assessment = assess(transaction, velocity, RULES)
    logger.info(
        "fraud score", score=assessment.score, reasons=[r.rule for r in assessment.reasons], rules=RULES.version
    )
    metrics.add_metric("FraudScore", MetricUnit.NoUnit, assessment.score)
    return {
        "score": assessment.score,
        "reasons": [reason._asdict() for reason in assessment.reasons],
        "rules": RULES.version,
    }


handle = lambda_handler(judge)
