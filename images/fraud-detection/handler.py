"""Lambda entry point of fraud-detection."""

from __future__ import annotations

from pathlib import Path

from history import CustomerHistory, TableNotConfigured
from scoring import FraudRules, assess
from transactions.invocation import Invocation, MetricUnit, Response, lambda_handler, logger, metrics
from velocity import count_windows, needed, span

RULES = FraudRules.load(Path(__file__).with_name("rules"))
HISTORY = CustomerHistory.from_environment()


def judge(invocation: Invocation) -> Response:
    """``{"score": 0..100, "reasons": [{rule, points, message}…]}``."""
    if HISTORY is None:
        raise TableNotConfigured("TABLE_NAME is not set, so the customer's velocity is not known")
    transaction = invocation.canonical_transaction()
    newest = HISTORY.newest(transaction.customer_id, invocation.received_at, span(RULES.windows), needed(RULES.windows))
    velocity = count_windows(newest, transaction.transaction_id, invocation.received_at, RULES.windows)
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
