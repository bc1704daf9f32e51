"""Lambda entry point of compliance-checking."""

from __future__ import annotations

from pathlib import Path

from screening import ComplianceRules, is_compliant, screen
from transactions.invocation import Invocation, MetricUnit, Response, lambda_handler, logger, metrics
from transactions.results import Action

RULES = ComplianceRules.load(Path(__file__).with_name("rules"))


def judge(invocation: Invocation) -> Response:
    """``{"compliant": bool, "findings": [{rule, action, message}…]}``; a BLOCK finding makes it not compliant."""
    findings = screen(invocation.canonical_transaction(), RULES)
    compliant = is_compliant(findings)
    logger.info("compliance", compliant=compliant, findings=[f.rule for f in findings], rules=RULES.version)
    for action in Action:
        count = sum(finding.action is action for finding in findings)
        metrics.add_metric(f"Findings{action.capitalize()}", MetricUnit.Count, count)
    return {
        "compliant": compliant,
        "findings": [finding._asdict() for finding in findings],
        "rules": RULES.version,
    }


handle = lambda_handler(judge)
