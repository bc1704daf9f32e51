"""The fraud score of a transaction: 0 to 100, the capped sum of the points of named rules. Pure.

Rules only ever add points, so leaving a field out can never be worth more than telling it truthfully would cost; a
field that is absent adds nothing, because most card transactions come without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transactions.money import Money
from transactions.results import Reason
from transactions.rules import RulesError, newest_rules
from transactions.transaction import Transaction
from velocity import Window

MAX_SCORE = 100


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule's stable name and the points that it adds."""

    name: str
    points: int


@dataclass(frozen=True, slots=True)
class CountryRules:
    """What each disagreement between two known countries adds.

    A merchant abroad is compared with the customer's country, and with the IP address's country only when the
    customer's is not known: one disagreement is counted once.
    """

    ip_differs_from_customer: Rule
    merchant_differs_from_customer: Rule
    merchant_differs_from_ip: Rule
    all_differ: Rule


@dataclass(frozen=True, slots=True)
class FraudRules:
    """One rule file, checked.

    bands       amount rules in rising order
    band_limits per currency: the minor units from which each band begins, in the order of ``bands``
    unrated     for a currency without limits: it cannot be judged by amount, which is said rather than passed over
    categories  points by merchant category code (ISO 18245)
    """

    version: str
    bands: tuple[Rule, ...]
    band_limits: Mapping[str, tuple[int, ...]]
    unrated: Rule
    country: CountryRules
    category_rule: str
    categories: Mapping[str, int]
    windows: tuple[Window, ...]

    @classmethod
    def load(cls, folder: Path) -> FraudRules:
        """Raises RulesError."""
        document = newest_rules(folder)
        try:
            rules = cls._read(document)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RulesError(f"the fraud rules {document['version']} are not usable: {error!r}") from error
        rules._check()
        return rules

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> FraudRules:
        amount, merchant = document["amount"], document["merchant"]
        return cls(
            version=document["version"],
            bands=tuple(map(_rule, amount["bands"])),
            band_limits={
                currency: tuple(Money.parse(limit, currency).minor for limit in limits)
                for currency, limits in amount["from"].items()
            },
            unrated=_rule(amount["unrated"]),
            country=CountryRules(**{name: _rule(rule) for name, rule in document["country"].items()}),
            category_rule=merchant["rule"],
            categories={code: _positive(points) for code, points in merchant["points"].items()},
            windows=tuple(
                Window(window["rule"], _positive(window["seconds"]), _positive(window["others"]), _rule(window).points)
                for window in document["velocity"]
            ),
        )

    def _check(self) -> None:
        for currency, limits in self.band_limits.items():
            if len(limits) != len(self.bands) or list(limits) != sorted(set(limits)):
                raise RulesError(f"{currency} needs {len(self.bands)} rising amounts in the fraud rules {self.version}")


def _rule(document: Mapping[str, Any]) -> Rule:
    return Rule(document["rule"], _positive(document["points"]))


def _positive(value: object) -> int:
    """Points that are not above zero would make a rule that cannot be seen, or one that rewards."""
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is not a whole number above zero")
    return value


@dataclass(frozen=True, slots=True)
class Assessment:
    """A score and its reasons, the heaviest first; their points add up to the score unless it is capped."""

    score: int
    reasons: tuple[Reason, ...]


def assess(transaction: Transaction, velocity: tuple[Reason, ...], rules: FraudRules) -> Assessment:
    """Score a transaction. velocity: what the customer's recent transactions gave (``velocity.count_windows``)."""
    reasons = [
        *_amount_reasons(transaction.money, rules),
        *_country_reasons(transaction, rules.country),
        *_merchant_reasons(transaction.merchant_category, rules),
        *velocity,
    ]
    reasons.sort(key=lambda reason: (-reason.points, reason.rule))
    return Assessment(min(MAX_SCORE, sum(reason.points for reason in reasons)), tuple(reasons))


def _amount_reasons(money: Money, rules: FraudRules) -> Iterator[Reason]:
    if money.minor == 0:  # an account verification
        return
    code = money.currency.code
    limits = rules.band_limits.get(code)
    if limits is None:
        yield Reason(rules.unrated.name, rules.unrated.points, f"amounts in {code} have no bands")
        return
    reached = sum(money.minor >= limit for limit in limits)
    if reached:
        band = rules.bands[reached - 1]
        yield Reason(band.name, band.points, f"the amount is in band {reached} of {len(limits)} for {code}")


def _country_reasons(transaction: Transaction, rules: CountryRules) -> Iterator[Reason]:
    customer, merchant, ip = transaction.customer_country, transaction.merchant_country, transaction.ip_country
    if customer and ip and customer != ip:
        rule = rules.ip_differs_from_customer
        yield Reason(rule.name, rule.points, "the IP address is not in the customer's country")
    if customer and merchant and customer != merchant:
        rule = rules.merchant_differs_from_customer
        yield Reason(rule.name, rule.points, "the merchant is not in the customer's country")
    if not customer and merchant and ip and merchant != ip:
        rule = rules.merchant_differs_from_ip
        yield Reason(rule.name, rule.points, "the merchant is not in the IP address's country")
    if customer and merchant and ip and len({customer, merchant, ip}) == 3:
        rule = rules.all_differ
        yield Reason(rule.name, rule.points, "customer, merchant and IP address are in three countries")


def _merchant_reasons(category: str | None, rules: FraudRules) -> Iterator[Reason]:
    points = rules.categories.get(category, 0) if category else 0
    if points:
        yield Reason(rules.category_rule, points, f"merchants of category {category} carry a higher risk")
