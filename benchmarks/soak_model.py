"""The transactions of a soak and their expected outcomes, computed with the functions' pure rules."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any

from tests.unit.images.loading import IMAGES

# ruff: isort: split
from scoring import FraudRules, assess
from screening import ComplianceRules, is_compliant, screen
from transactions.money import Currency
from transactions.results import Action
from transactions.transaction import Transaction, read_transaction
from validation import ClockRules, validate

REPEATS, CONFLICTS, MALFORMED = 0.10, 0.02, 0.01
_NO_ID, _FAULTY, _SUBMITTED_AT_ONCE = 0.005, 0.04, 0.2
# Below the five in a minute from which the velocity of a customer counts, so the order of answers decides nothing.
PER_CUSTOMER = 3
# So many lines after the first one a conflict comes, or a fifth of a shorter file: that one has been answered by then,
# unless a fault came between.
CONFLICT_DISTANCE = 300

_CURRENCIES = ("USD", "EUR", "GBP", "JPY", "KWD", "CHF", "KRW", "ISK")
_COUNTRIES = ("DE", "FR", "US", "GB", "JP", "BR")
_RARE_COUNTRIES = ("IR", "RU", "KP")
_NAMES = ("Ada Lovelace", "Grace Hopper", "Zoë Müller")
_LISTED_NAMES = ("Viktor Examplovich Sanctionov", "Jürgen Großmuster")
_CATEGORIES = ("5411", "5812", "7995", "6051", "4829")
_MALFORMED = ('{"transaction_id": "broken', "not JSON at all", "[1, 2", '{"amount": NaN}', '{"a": "\\ud800"}')


class Kind(StrEnum):
    NEW = "new"
    REPEAT = "repeats"
    CONFLICT = "conflicts"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file. payload is None for a malformed one; transaction_id for one that names none."""

    number: int
    kind: Kind
    text: str
    payload: Mapping[str, Any] | None = None

    @property
    def transaction_id(self) -> str | None:
        return None if self.payload is None else self.payload.get("transaction_id")


@cache
def _rules() -> tuple[ClockRules, FraudRules, ComplianceRules]:
    return (
        ClockRules.load(IMAGES / "transaction-validation" / "rules"),
        FraudRules.load(IMAGES / "fraud-detection" / "rules"),
        ComplianceRules.load(IMAGES / "compliance-checking" / "rules"),
    )


def predict(payload: Mapping[str, Any]) -> str:
    """The outcome of a transaction whose customer makes few."""
    clock, fraud, compliance = _rules()
    result = validate(dict(payload), datetime.now(UTC), clock)
    if not isinstance(result, Transaction):
        return "REJECTED"
    findings = screen(result, compliance)
    score = assess(result, (), fraud).score
    if not is_compliant(findings) or score >= 80:
        return "DECLINED"
    return "REVIEW" if score >= 50 or any(finding.action is Action.REVIEW for finding in findings) else "APPROVED"


def money(payload: Mapping[str, Any]) -> tuple[str, int]:
    """Currency and minor units of a transaction without faults."""
    result = read_transaction(dict(payload))
    assert isinstance(result, Transaction)
    return result.money.currency.code, result.money.minor


def make_lines(count: int, seed: int) -> list[Line]:
    """A file's lines, numbered from 1: the same for the same seed."""
    return list(_Draw(random.Random(seed), min(CONFLICT_DISTANCE, count // 5)).lines(count))


class _Draw:
    def __init__(self, chance: random.Random, conflict_distance: int) -> None:
        self._chance = chance
        self._conflict_distance = conflict_distance
        self._made: list[Mapping[str, Any]] = []
        self._first: list[int] = []
        self._conflicting: set[str] = set()

    def lines(self, count: int) -> Iterator[Line]:
        for number in range(1, count + 1):
            draw = self._chance.random()
            if draw < MALFORMED:
                yield Line(number, Kind.MALFORMED, self._chance.choice(_MALFORMED))
            elif draw < MALFORMED + CONFLICTS and (conflict := self._conflict(number)) is not None:
                yield self._line(number, Kind.CONFLICT, conflict)
            elif draw < MALFORMED + CONFLICTS + REPEATS and self._made:
                yield self._line(number, Kind.REPEAT, self._repeat())
            else:
                payload = self._new()
                if "transaction_id" in payload:
                    self._made.append(payload)
                    self._first.append(number)
                yield self._line(number, Kind.NEW, payload)

    def _line(self, number: int, kind: Kind, payload: Mapping[str, Any]) -> Line:
        fields = list(payload.items())
        if kind is Kind.REPEAT:  # another spelling is the same payload
            self._chance.shuffle(fields)
        separators = self._chance.choice([(",", ":"), (", ", ": ")])
        text = json.dumps(dict(fields), separators=separators, ensure_ascii=self._chance.random() < 0.5)
        return Line(number, kind, text, payload)

    def _repeat(self) -> Mapping[str, Any]:
        if self._chance.random() < _SUBMITTED_AT_ONCE:  # while the first is still under way
            return self._made[-1 - self._chance.randrange(min(4, len(self._made)))]
        return self._chance.choice(self._made)

    def _conflict(self, number: int) -> Mapping[str, Any] | None:
        index = self._chance.randrange(len(self._made)) if self._made else -1
        if index < 0 or number - self._first[index] < self._conflict_distance:
            return None
        first = self._made[index]
        if first["transaction_id"] in self._conflicting:  # one other payload per id
            return None
        self._conflicting.add(first["transaction_id"])
        return {**first, "merchant_id": f"{first.get('merchant_id', 'merchant')}-other"}

    def _new(self) -> dict[str, Any]:
        chance, number = self._chance, len(self._made)
        payload = {
            "transaction_id": f"soak-{number:06d}",
            **self._amount(),
            "merchant_id": f"merchant-{chance.randrange(500)}",
            "customer_id": f"customer-{number // PER_CUSTOMER}",
        }
        if chance.random() < 0.5:
            payload["merchant_category"] = chance.choice(_CATEGORIES)
        for name in ("merchant_country", "customer_country", "ip_country"):
            if chance.random() < 0.4:
                payload[name] = chance.choice(_RARE_COUNTRIES if chance.random() < 0.02 else _COUNTRIES)
        for name in ("customer_name", "beneficiary_name"):
            if chance.random() < 0.2:
                payload[name] = chance.choice(_LISTED_NAMES if chance.random() < 0.05 else _NAMES)
        draw = chance.random()
        if draw < _NO_ID:
            del payload["transaction_id"]
        elif draw < _NO_ID + _FAULTY:
            payload |= chance.choice(
                (
                    {"amount": "-1.00"},
                    {"currency": "XQX"},
                    {"amount": "1e3"},
                    {"merchant_contry": "DE"},
                    {"amount": "0"},
                )
            )
        return payload

    def _amount(self) -> dict[str, Any]:
        currency = Currency.parse(self._chance.choice(_CURRENCIES))
        minor = int(10 ** self._chance.uniform(1, 6.3))
        if currency.digits == 0:
            return {"amount": self._chance.choice((minor, str(minor))), "currency": currency.code}
        text = str(minor).rjust(currency.digits + 1, "0")
        return {"amount": f"{text[: -currency.digits]}.{text[-currency.digits :]}", "currency": currency.code}
