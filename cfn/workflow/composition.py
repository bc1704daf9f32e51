"""Composes the definitions of the state machines: ``*.asl.json``, their expressions, names and limits.

A document is plain Amazon States Language, and Workflow Studio opens it. ``${Name}`` in it, the form of
CloudFormation's DefinitionSubstitutions, is one of three things:

- an expression: the file ``expressions/<name>.jsonata``, which may itself include others;
- a name or limit of ``cfn.workflow.limits``;
- a resource of the stack (``RESOURCES``), which CloudFormation fills in.

Rules that every state keeps:

- A Choice or a Pass cannot catch an error, so what may fail to evaluate (a payload, a function's answer) is evaluated
  and checked in a Task, where it is caught. Expressions in a Choice or a Pass only read checked values.
- ``States.ALL`` does not catch ``States.Runtime``, which cannot happen if the rule above is kept. It caught
  ``States.DataLimitExceeded`` of a Task when that was recorded, but the documentation says that it does not, so that is
  caught by name where a result has no bound.
- Errors of DynamoDB are named after classes of the Java SDK (recorded); what has no class of its own, such as most
  throttling, is ``AmazonDynamoDBException``.
- No field of a Parallel or a Succeed state shapes data; only Pass, Task and Choice do.
- Every Task has TimeoutSeconds, and the longest way ends before EXPRESS does (``pipeline.verification``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cfn.names import pascal_case
from cfn.workflow.limits import (
    CARD_FIELDS,
    DETAILS_DAYS,
    DETAILS_PREFIX,
    EXCERPT_CHARACTERS,
    FINGERPRINT_KEY_CHARACTERS,
    GRACE_SECONDS,
    HISTORY_ENTRIES,
    HISTORY_SECONDS,
    LEASE_SECONDS,
    LEASE_SHARDS,
    PARKED_CUSTOMER,
    PARKED_MAX_CHARACTERS,
    PARKED_PREFIX,
    PATIENCE_SECONDS,
    SWEPT_CLAIMS,
    TRANSACTION_MAX_CHARACTERS,
)

State = dict[str, Any]

DOCUMENT = Path(__file__).with_name("transaction-pipeline.asl.json")
FILE_ENTRANCE = Path(__file__).with_name("file-entrance.asl.json")
SWEEPER = Path(__file__).with_name("lost-claims.asl.json")
EXPRESSIONS = Path(__file__).with_name("expressions")

# What CloudFormation fills in.
RESOURCES = (
    "Table",
    "AlertTopic",
    "DeadLetterQueue",
    "FingerprintKey",
    "ValidationFunction",
    "FraudFunction",
    "ComplianceFunction",
)

_REFERENCE = re.compile(r"\$\{(\w+)\}")
_STRING = re.compile(r"('[^']*')")
_STRING_OR_COMMENT = re.compile(r"'[^']*'|/\*.*?\*/", re.DOTALL)
# Beside punctuation that ends a word in JSONata. Not beside . / and -, which mean other things beside a space.
_SPACE = re.compile(r"\s+(?=[:;,?&=<>{}()\[\]+*%|])|(?<=[:;,?&=<>{}()\[\]+*%|])\s+")


def definition(
    *,
    lease_seconds: int = LEASE_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
    details_days: int = DETAILS_DAYS,
) -> State:
    """The state machine as a value, with ``${…}`` for the resources of a stack and without the states' comments.

    lease_seconds     a claim may be taken over when it is older than this
    patience_seconds  a submission waits this long for the execution that holds its claim, then it is parked
    details_days      days after which the details of a flagged transaction may be deleted by TTL
    """
    texts = expressions(lease_seconds, patience_seconds, details_days)
    document: State = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return {"Comment": document.pop("Comment"), **_filled(document, texts)}


def file_entrance(*, concurrency: int) -> State:
    """The state machine of the entrance ``files``, with ``${StateMachine}`` for the one that judges a transaction.

    concurrency  batches that run at the same time
    """
    document: State = json.loads(FILE_ENTRANCE.read_text(encoding="utf-8"))
    for state in document["States"].values():
        if state["Type"] == "Map":
            state["MaxConcurrency"] = concurrency
    return {"Comment": document.pop("Comment"), **_filled(document, expressions())}


def sweeper_definition() -> State:
    """The state machine that parks lost claims, as ``definition`` gives the other one."""
    document: State = json.loads(SWEEPER.read_text(encoding="utf-8"))
    return {"Comment": document.pop("Comment"), **_filled(document, expressions())}


def expressions(
    lease_seconds: int = LEASE_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
    details_days: int = DETAILS_DAYS,
) -> dict[str, str]:
    """The values of ``${Name}`` in an expression: the expressions, compact and complete, and the names and limits.

    The arguments are those of ``definition``. Raises KeyError for an unknown name.
    """
    files = {pascal_case(path.stem): path.read_text(encoding="utf-8") for path in EXPRESSIONS.glob("*.jsonata")}
    texts = {
        **files,
        "TransactionMaxCharacters": str(TRANSACTION_MAX_CHARACTERS),
        "ParkedMaxCharacters": str(PARKED_MAX_CHARACTERS),
        "HistoryMilliseconds": str(HISTORY_SECONDS * 1000),
        "HistoryEntries": str(HISTORY_ENTRIES),
        "ExcerptCharacters": str(EXCERPT_CHARACTERS),
        "CardFields": CARD_FIELDS,
        "FingerprintKeyCharacters": str(FINGERPRINT_KEY_CHARACTERS),
        "DetailsPrefix": DETAILS_PREFIX,
        "ParkedPrefix": PARKED_PREFIX,
        "ParkedCustomer": PARKED_CUSTOMER,
        "GraceMilliseconds": str(GRACE_SECONDS * 1000),
        "LeaseShards": str(LEASE_SHARDS),
        "SweptClaims": str(SWEPT_CLAIMS),
        "LeaseMilliseconds": str(lease_seconds * 1000),
        "PatienceMilliseconds": str(int(patience_seconds * 1000)),
        "DetailsSeconds": str(details_days * 86_400),
    }
    return {name: compact(_included(text, texts)) for name, text in texts.items()}


def compact(text: str) -> str:
    """JSONata without comments and without the spaces that only readers need: a template has no room for them.

    Strings stay as they are.
    """
    code = _STRING_OR_COMMENT.sub(lambda found: "" if found[0].startswith("/*") else found[0], text)
    parts = _STRING.split(code)
    return "".join(
        part if number % 2 else _SPACE.sub("", re.sub(r"\s+", " ", part)) for number, part in enumerate(parts)
    ).strip()


def definition_text(value: State) -> str:
    """A definition as the template carries it: compact, and the same text for the same value."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def every_state(machine: Mapping[str, Any]) -> Iterator[tuple[str, State]]:
    """Every state by name, those in the branches of a Parallel and in the processor of a Map included."""
    for name, state in machine["States"].items():
        yield name, state
        inner = [state[field] for field in ("ItemProcessor", "Iterator") if field in state]
        for each in (*state.get("Branches", ()), *inner):
            yield from every_state(each)


def tasks(machine: Mapping[str, Any]) -> Iterator[State]:
    """Every Task state."""
    return (state for _name, state in every_state(machine) if state["Type"] == "Task")


def _included(text: str, texts: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda found: _included(texts[found[1]], texts), text)


def _filled(value: Any, texts: Mapping[str, str]) -> Any:
    match value:
        case str() if value.startswith("{%"):
            inner = _REFERENCE.sub(lambda found: texts[found[1]], value.removeprefix("{%").removesuffix("%}"))
            return "{% " + compact(inner) + " %}"
        case dict():
            return {name: _filled(each, texts) for name, each in value.items() if name != "Comment"}
        case list():
            return [_filled(each, texts) for each in value]
    return value
