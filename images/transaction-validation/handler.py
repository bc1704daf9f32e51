"""Lambda entry point of transaction-validation. A faulty transaction is an answer, never an error."""

from __future__ import annotations

from pathlib import Path

from transactions.invocation import Invocation, MetricUnit, Response, lambda_handler, logger, metrics
from transactions.transaction import Transaction
from validation import ClockRules, validate

RULES = ClockRules.load(Path(__file__).with_name("rules"))


def judge(invocation: Invocation) -> Response:
    """``{"valid": true, "transaction": {canonical}, "faults": []}``, or ``{"valid": false, "faults": [{field, code,
    message}…]}``.
    """
    result = validate(invocation.document, invocation.received_at, RULES)
    if isinstance(result, Transaction):
        logger.info("transaction is valid", rules=RULES.version)
        metrics.add_metric("TransactionsValid", MetricUnit.Count, 1)
        return {"valid": True, "transaction": result.canonical(), "faults": [], "rules": RULES.version}
    found = [f"{fault.field or 'transaction'}: {fault.code}" for fault in result]
    logger.info("transaction is not valid", faults=found, rules=RULES.version)
    metrics.add_metric("TransactionsInvalid", MetricUnit.Count, 1)
    return {"valid": False, "faults": [fault._asdict() for fault in result], "rules": RULES.version}


handle = lambda_handler(judge)
