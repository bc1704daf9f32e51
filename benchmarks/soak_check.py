"""Check the invariants of the workflow on the results of a soak."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soak_model import Kind, Line, money, predict
from cfn.names import Names
from pipeline.target import Target
from pipeline.transactions.submit import Answer, Unanswered, submit

Records = dict[str, dict[str, Any]]
# One of so many ids is submitted again at the end, besides those with two payloads; and how many concurrently.
ASKED_AGAIN_OF = 20
ASKED_AT_ONCE = 8
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Given:
    """The results to check.

    results   the results file of the submissions
    parked    messages before the redrive, as ``redrive --dry-run`` lists them; ``before``: the table then
    redriven  every message as it was redriven, in order; ``left``: messages after it; ``records``: the table then
    """

    lines: Sequence[Line]
    results: Path
    parked: Sequence[Mapping[str, Any]]
    before: Records
    redriven: Sequence[Mapping[str, Any]]
    left: Sequence[Mapping[str, Any]]
    records: Records


@dataclass(slots=True)
class Report:
    outcomes: Counter[str] = field(default_factory=Counter)
    # Currency → approved minor units in the table and in the model.
    sums: dict[str, tuple[int, int]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer to a payload."""

    payload: Mapping[str, Any]
    outcome: str
    repeat: bool
    decided_at: str


def check(given: Given, target: Target | None) -> Report:
    """All violated invariants. With a target, some transactions are submitted again."""
    report = Report()
    done = _last_results(given.results)
    answers = _answers(given, done, report)
    _check_lines(given, done, report)
    _check_parked(given, done, report)
    first = _first_payloads(given.lines)
    bound = {
        transaction_id: _check_id(transaction_id, payload, answers[transaction_id], given, report)
        for transaction_id, payload in first.items()
    }
    _check_sums(bound, given.records, report)
    if target is not None:
        _ask_again(given, bound, target, report)
    report.outcomes = Counter(
        record["outcome"] for record in given.records.values() if record.get("status") == "DECIDED"
    )
    return report


def _last_results(path: Path) -> dict[int, dict[str, Any]]:
    """The last result of each line; unanswered lines are retried. Line 0 names where they were submitted."""
    return {entry["line"]: entry for entry in map(json.loads, path.read_text().splitlines()) if entry["line"]}


def _first_payloads(lines: Sequence[Line]) -> dict[str, Mapping[str, Any]]:
    first: dict[str, Mapping[str, Any]] = {}
    for line in lines:
        if line.transaction_id is not None and line.payload is not None:
            first.setdefault(line.transaction_id, line.payload)
    return first


def _answers(given: Given, done: Mapping[int, Mapping[str, Any]], report: Report) -> dict[str, list[_Answer]]:
    answers: dict[str, list[_Answer]] = defaultdict(list)
    payloads: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in given.lines:
        if line.payload is None or line.transaction_id is None:
            continue
        payloads[line.transaction_id].append(line.payload)
        answer = done.get(line.number, {}).get("answer")
        if answer is not None:
            answers[line.transaction_id].append(_answer(line.payload, answer))
    for message in given.redriven:
        transaction_id, answer = message["transaction_id"], message.get("answer")
        if transaction_id not in payloads:
            report.broken.append(f"a message of {transaction_id!r} was parked, but not submitted")
        elif answer is not None:
            # The message has no payload; of two payloads, the one in conflict is the one without a decision.
            answers[transaction_id].append(_answer({}, answer))
    return answers


def _answer(payload: Mapping[str, Any], answer: Mapping[str, Any]) -> _Answer:
    return _Answer(payload, answer["outcome"], answer["repeat"], answer["decided_at"])


def _check_lines(given: Given, done: Mapping[int, Mapping[str, Any]], report: Report) -> None:
    """Every line is accounted for, and what has no id or is no JSON is answered as such."""
    for line in given.lines:
        outcome = done.get(line.number, {}).get("outcome")
        if outcome is None or outcome == "unanswered":
            report.broken.append(f"line {line.number} has no result: {outcome}")
        elif (outcome == "malformed") != (line.kind is Kind.MALFORMED):
            report.broken.append(f"line {line.number} ({line.kind}) was {outcome}")
        elif line.payload is not None and line.transaction_id is None and outcome not in ("REJECTED", "parked"):
            report.broken.append(f"line {line.number} without an id was {outcome}")


def _check_parked(given: Given, done: Mapping[int, Mapping[str, Any]], report: Report) -> None:
    """Each parked line is one message, no execution has two, and an id has a decision or a message."""
    executions = Counter(message["execution"] for message in given.parked)
    report.broken += [f"{name} is parked {count} times" for name, count in executions.items() if count > 1]
    messages = Counter(message["transaction_id"] for message in given.parked)
    lines = Counter(line.transaction_id for line in given.lines if done.get(line.number, {}).get("outcome") == "parked")
    report.broken += [
        f"{transaction_id} has {count} parked lines and {messages[transaction_id]} messages"
        for transaction_id, count in lines.items()
        if messages[transaction_id] < count
    ]
    for transaction_id in _first_payloads(given.lines):
        if not _decided(given.before, transaction_id) and not messages[transaction_id]:
            report.broken.append(f"{transaction_id} has neither a decision nor a parked message")
    report.broken += [f"{message['transaction_id']} is still parked" for message in given.left]


def _decided(records: Records, transaction_id: str) -> bool:
    return records.get(transaction_id, {}).get("status") == "DECIDED"


def _check_id(
    transaction_id: str, first: Mapping[str, Any], answers: Sequence[_Answer], given: Given, report: Report
) -> Mapping[str, Any]:
    """Check that all answers agree on one decision, and return its payload."""
    accepted = [answer for answer in answers if answer.outcome != "CONFLICT"]
    decided = [answer.payload for answer in accepted if answer.payload]
    refused = [answer.payload for answer in answers if answer.outcome == "CONFLICT" and answer.payload]
    bound = decided[0] if decided else next((_other(given, transaction_id, each) for each in refused), first)
    if any(payload != bound for payload in decided):
        report.broken.append(f"{transaction_id} was decided on two payloads")
    if bound in refused:
        report.broken.append(f"{transaction_id} refused the payload that it was decided on")
    if len({(answer.outcome, answer.decided_at) for answer in accepted}) > 1:
        report.broken.append(f"{transaction_id} has several decisions: {accepted}")
    if sum(not answer.repeat for answer in accepted) > 1:
        report.broken.append(f"{transaction_id} was answered more than once as if for the first time")
    record = given.records.get(transaction_id, {})
    if record.get("status") != "DECIDED":
        report.broken.append(f"{transaction_id} has no decision: {record.get('status')}")
        return bound
    expected = predict(bound)
    if record["outcome"] != expected:
        report.broken.append(f"{transaction_id} is {record['outcome']}, and the model says {expected}")
    if accepted and (record["outcome"], record["decided_at"]) != (accepted[0].outcome, accepted[0].decided_at):
        report.broken.append(f"the record of {transaction_id} is not the answer that was given")
    if (before := given.before.get(transaction_id, {})).get("status") == "DECIDED" and (
        before["answer"] != record["answer"]
    ):
        report.broken.append(f"the decision of {transaction_id} changed while it was redriven")
    return bound


def _other(given: Given, transaction_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The other payload of an id that has two."""
    for line in given.lines:
        if line.transaction_id == transaction_id and line.payload is not None and line.payload != payload:
            return line.payload
    return payload


def _check_sums(bound: Mapping[str, Mapping[str, Any]], records: Records, report: Report) -> None:
    table: Counter[str] = Counter()
    model: Counter[str] = Counter()
    for transaction_id, payload in bound.items():
        if predict(payload) == "APPROVED":
            currency, minor = money(payload)
            model[currency] += minor
        if records.get(transaction_id, {}).get("outcome") == "APPROVED":
            currency, minor = money(payload)
            table[currency] += minor
    report.sums = {currency: (table[currency], model[currency]) for currency in sorted(table | model)}
    report.broken += [
        f"{currency}: {approved} approved, and {expected} in the model"
        for currency, (approved, expected) in report.sums.items()
        if approved != expected
    ]


def _asked(target: Target, arn: str, text: str) -> Answer | None:
    """The answer. A busy machine evaluates an expression for longer than its second, which parks a submission."""
    for _attempt in range(ATTEMPTS):
        try:
            return submit(target.client("stepfunctions"), arn, text)
        except Unanswered:
            continue
    return None


def _ask_again(given: Given, bound: Mapping[str, Mapping[str, Any]], target: Target, report: Report) -> None:
    """Submitting again gives the recorded answer for the decided payload, and a conflict for any other."""
    names = Names("dev")
    [stack] = target.client("cloudformation").describe_stacks(StackName=names.pipeline_stack)["Stacks"]
    arn = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}["StateMachineArn"]
    asked: list[tuple[str, Mapping[str, Any]]] = [
        (line.transaction_id, line.payload)
        for line in given.lines
        if line.kind is Kind.CONFLICT and line.transaction_id is not None and line.payload is not None
    ]
    asked += [(transaction_id, bound[transaction_id]) for transaction_id, _payload in asked]
    asked += list(bound.items())[::ASKED_AGAIN_OF]

    def ask(asking: tuple[str, Mapping[str, Any]]) -> str | None:
        transaction_id, payload = asking
        answer = _asked(target, arn, json.dumps(payload))
        if answer is None:
            return f"{transaction_id}, submitted again, is parked each of {ATTEMPTS} times"
        record = given.records.get(transaction_id, {})
        expected = (record.get("outcome"), True) if payload == bound[transaction_id] else ("CONFLICT", False)
        if (answer.outcome, answer.repeat) == expected:
            return None
        return f"{transaction_id}, submitted again, is {answer.outcome}, not {expected[0]}"

    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        report.broken += filter(None, pool.map(ask, asked))
