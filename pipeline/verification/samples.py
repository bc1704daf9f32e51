"""Representative submissions and answers of the functions for the transaction workflow: one of every kind that matters.

What the workflow computes from a submission depends on few of its properties: whether it is an object, whether its id
and its customer are usable, its size, and whether it equals another. What it computes from an answer depends on the
thresholds of scores and on the actions of findings. Each class has a member here; garbage, which a function should
never answer, costs a fault.
"""

from __future__ import annotations

import re
from typing import Any

from cfn.workflow.limits import FINGERPRINT_KEY_CHARACTERS
from pipeline.verification.language.integrations import Integration
from pipeline.verification.language.interned import UNKNOWN
from pipeline.verification.model.steps import Answer

_CLEAN: dict[str, Any] = {"transaction_id": "t-1", "amount": "10.00", "currency": "USD", "customer_id": "c-1"}
_LARGE = {**_CLEAN, "pad": "x" * 9_000}

PAYLOADS: dict[str, Any] = {
    "a payload": _CLEAN,
    "another payload": {**_CLEAN, "amount": "11.00"},
    "an oversize payload": _LARGE,
}
"""Submissions under one id. The first two differ in nothing that matters."""
ALIKE = ("a payload", "another payload")

SEALED: dict[str, Any] = {
    "a payload with a card number": {**_CLEAN, "note": "4111111111111111"},
    "a payload with another card number": {**_CLEAN, "note": "5500000000000004"},
}
"""Submissions under one id that need a key to be told apart: they differ in the digits of a card only."""

ODD: dict[str, Any] = {
    "a payload": _CLEAN,
    "an oversize payload": _LARGE,
    "a payload without a customer": {"transaction_id": "t-1"},
    "a customer that is no text": {**_CLEAN, "customer_id": 7},
    "a customer that is too long": {**_CLEAN, "customer_id": "c" * 65},
    "nested values": {**_CLEAN, "device": {"ids": [{"b": 2, "a": None}, [], [1, [2.5, True]]], "": {}}},
    "many objects": {**_CLEAN, "items": [{}] * 60},
    "text with braces and accents": {**_CLEAN, "note": 'é {"a": [1]} 🙂 \\ "'},
    "no id": {"amount": "10.00"},
    "an empty object": {},
    "an empty id": {**_CLEAN, "transaction_id": ""},
    "an id that is too long": {**_CLEAN, "transaction_id": "x" * 65},
    "an id with a space": {**_CLEAN, "transaction_id": "a b"},
    "an id with a hash": {**_CLEAN, "transaction_id": "parked#a"},
    "an id that is a card number": {**_CLEAN, "transaction_id": "4111-1111-1111-1111"},
    "a customer that is a card number": {**_CLEAN, "customer_id": "4111111111111111"},
    "a card number in a note": {**_CLEAN, "note": "card 4111 1111 1111 1111"},
    "an id that is a number": {**_CLEAN, "transaction_id": 7},
    "an id that is null": {**_CLEAN, "transaction_id": None},
    "an id that is an array": {**_CLEAN, "transaction_id": ["t-1"]},
    "an id that is an object": {**_CLEAN, "transaction_id": {"a": 1}},
    "an oversize payload without an id": {"pad": "x" * 9_000},
    "an array of one transaction": [_CLEAN],
    "an array of one oversize transaction": [_LARGE],
    "an array of two transactions": [_CLEAN, {**_CLEAN, "transaction_id": "t-2"}],
    "an empty array": [],
    "a text": "t-1",
    "an oversize text": "x" * 9_000,
    "a number": 7,
    "true": True,
    "null": None,
}
"""Every kind of input that Step Functions starts an execution with."""

_WHO = {"image": "sha256:0", "rules": "1"}
_FAULT = {"field": "amount", "code": "missing", "message": "amount is missing"}


def answers(_state: str, call: Integration, arguments: Any, *, wide: bool, rejects: bool = True) -> list[Answer]:
    """What a Task may be answered. wide: every class of answers, with garbage; else those that lead apart."""
    if not call.is_function:
        return _services(call, wide)
    given = arguments if isinstance(arguments, dict) else {}
    payload = given.get("Payload")
    transaction = payload.get("transaction") if isinstance(payload, dict) else None
    function = str(given.get("FunctionName", ""))
    if "Validation" in function:
        found = _validation(transaction, wide, rejects)
    elif "Fraud" in function:
        found = _fraud(wide)
    elif "Compliance" in function:
        found = _compliance(wide)
    else:
        return [Answer("", UNKNOWN)]
    return [Answer(each.label, {"Payload": each.value, "StatusCode": 200}, each.cost) for each in found]


def _services(call: Integration, wide: bool) -> list[Answer]:
    if call.service in ("sqs", "sns"):
        return [Answer("", {"MessageId": "0"})]
    if call.service == "secretsmanager":
        key = Answer("", {"SecretString": "k" * FINGERPRINT_KEY_CHARACTERS})
        return [key, Answer("garbage: no key", {"SecretBinary": ""}, 1)] if wide else [key]
    if call.is_table and call.action == "query":
        item = {"transaction_id": {"S": "t-0"}, "occurred_at": {"S": "2027-01-15T07:59:00.000Z"}}
        return [Answer("", {"Items": items, "Count": len(items)}) for items in ([], [item])[: 1 + wide]]
    return [Answer("", {} if call.is_table else UNKNOWN)]


def _validation(transaction: Any, wide: bool, rejects: bool) -> list[Answer]:
    usual = []
    if isinstance(transaction, dict) and _is_text(transaction.get("customer_id")):
        usual.append(Answer("valid", {"valid": True, "transaction": transaction, "faults": [], **_WHO}))
    if rejects or not usual:
        usual.append(Answer("invalid", {"valid": False, "transaction": None, "faults": [_FAULT], **_WHO}))
    garbage = [
        Answer("garbage: no verdict", {"nonsense": True}, 1),
        Answer("garbage: valid without a transaction", {"valid": True, **_WHO}, 1),
        Answer("garbage: valid without a customer", {"valid": True, "transaction": {"amount": "1"}, **_WHO}, 1),
        Answer("garbage: invalid without a fault", {"valid": False, "faults": [], **_WHO}, 1),
        Answer("garbage: null", None, 1),
    ]
    return usual + (garbage if wide else [])


def _is_text(value: Any) -> bool:
    """Whether validation takes it for a customer."""
    return isinstance(value, str) and 1 <= len(value) <= 64 and not re.search(r"\d{13}", value)


def _fraud(wide: bool) -> list[Answer]:
    reason = {"rule": "velocity", "points": 60, "message": "6 transactions in 10 minutes"}
    scores = (0, 49.5, 50, 79, 80, 100) if wide else (0, 60)
    usual = [
        Answer(f"score {score}", {"score": score, "reasons": [reason] if score else [], **_WHO}) for score in scores
    ]
    garbage = [
        Answer("garbage: no score", {"nonsense": True}, 1),
        Answer("garbage: score 101", {"score": 101, "reasons": [], **_WHO}, 1),
        Answer("garbage: reasons are no array", {"score": 1, "reasons": "none", **_WHO}, 1),
    ]
    return usual + (garbage if wide else [])


def _compliance(wide: bool) -> list[Answer]:
    def found(*actions: str, compliant: bool = True) -> dict[str, Any]:
        findings = [{"rule": "country", "action": action, "message": "a country on a list"} for action in actions]
        return {"compliant": compliant, "findings": findings, **_WHO}

    if not wide:
        return [Answer("compliant", found())]
    return [
        Answer("compliant", found()),
        Answer("compliant, REPORT", found("REPORT")),
        Answer("compliant, REVIEW", found("REVIEW")),
        Answer("not compliant, BLOCK", found("BLOCK", "REVIEW", compliant=False)),
        Answer("not compliant, without a finding", found(compliant=False)),
        Answer("garbage: no findings", {"compliant": True}, 1),
        Answer("garbage: an unknown action", found("PERHAPS"), 1),
    ]
