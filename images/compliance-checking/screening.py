"""The compliance findings of a transaction. Pure; every finding names its rule, and none repeats a name or an amount.

country_embargoed          BLOCK   a country under a comprehensive embargo is involved
country_restricted         REVIEW  a country under partial sanctions is involved
watch_list                 the entry's own action: a name is on the watch list
watch_list_similar         REVIEW  a name is close to one on the watch list
name_unscreened            REPORT  a name is missing, or is one word that an entry has too, so it was not screened
country_unknown            REPORT  a country is missing, so it was not checked
structuring                REVIEW  the amount stays just below the reporting threshold
reporting_threshold        REPORT  the amount reaches the reporting threshold
reporting_threshold_unset  REPORT  no threshold is set for the currency, so it was not applied
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from names import Name, normalise, normalise_all, same_name, shares_a_word, similar_name
from transactions.countries import COUNTRY_CODES
from transactions.money import Money
from transactions.results import Action, Finding
from transactions.rules import RulesError, newest_rules
from transactions.transaction import Transaction

_COUNTRY_FIELDS = ("merchant_country", "customer_country", "ip_country")
_NAME_FIELDS = ("customer_name", "beneficiary_name")


@dataclass(frozen=True, slots=True)
class CountryRule:
    """What follows when one of these countries is the merchant's, the customer's or the IP address's."""

    name: str
    action: Action
    codes: frozenset[str]


@dataclass(frozen=True, slots=True)
class WatchListEntry:
    """A person or company on the watch list, by any of its names in normal form."""

    entry_id: str
    action: Action
    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class ComplianceRules:
    """One rule file, checked.

    thresholds  per currency: the minor units from which a transaction is reported
    percent     from this percentage of a threshold up to the threshold an amount counts as just below it
    expected_countries  the country fields whose absence is a finding
    """

    version: str
    threshold_rule: str
    threshold_unset_rule: str
    thresholds: Mapping[str, int]
    structuring_rule: str
    percent: int
    countries: tuple[CountryRule, ...]
    country_unknown_rule: str
    expected_countries: tuple[str, ...]
    watch_list_rule: str
    watch_list_similar_rule: str
    name_unscreened_rule: str
    watch_list: tuple[WatchListEntry, ...]

    @classmethod
    def load(cls, folder: Path) -> ComplianceRules:
        """Raises RulesError."""
        document = newest_rules(folder)
        try:
            rules = cls._read(document)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RulesError(f"the compliance rules {document['version']} are not usable: {error!r}") from error
        rules._check()
        return rules

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> ComplianceRules:
        reporting, structuring, watch_list = document["reporting"], document["structuring"], document["watch_list"]
        unknown = document["country_unknown"]
        return cls(
            version=document["version"],
            threshold_rule=reporting["rule"],
            threshold_unset_rule=reporting["unset_rule"],
            thresholds={code: Money.parse(amount, code).minor for code, amount in reporting["from"].items()},
            structuring_rule=structuring["rule"],
            percent=structuring["percent_of_threshold"],
            countries=tuple(
                CountryRule(rule["rule"], Action(action), frozenset(rule["codes"]))
                for action, rule in document["countries"].items()
            ),
            country_unknown_rule=unknown["rule"],
            expected_countries=tuple(unknown["fields"]),
            watch_list_rule=watch_list["rule"],
            watch_list_similar_rule=watch_list["similar_rule"],
            name_unscreened_rule=watch_list["unscreened_rule"],
            watch_list=tuple(
                WatchListEntry(entry["id"], Action(entry["action"]), normalise_all(entry["names"]))
                for entry in watch_list["entries"]
            ),
        )

    def _check(self) -> None:
        unknown = {code for rule in self.countries for code in rule.codes} - COUNTRY_CODES
        if unknown:
            raise RulesError(
                f"the compliance rules {self.version} name unknown countries: {', '.join(sorted(unknown))}"
            )
        fields = set(self.expected_countries) - set(_COUNTRY_FIELDS)
        if fields:
            raise RulesError(
                f"the compliance rules {self.version} expect unknown country fields: {', '.join(sorted(fields))}"
            )
        if not isinstance(self.percent, int) or not 0 < self.percent < 100:
            raise RulesError(f"percent_of_threshold in the compliance rules {self.version} is not a whole 1 to 99")


def screen(transaction: Transaction, rules: ComplianceRules) -> tuple[Finding, ...]:
    """Every finding of a transaction: countries, names, amount."""
    return (
        *_country_findings(transaction, rules),
        *_name_findings(transaction, rules),
        *_amount_findings(transaction.money, rules),
    )


def is_compliant(findings: tuple[Finding, ...]) -> bool:
    """Nothing forbids the transaction. It may still be wanted for review, or be on record as reported."""
    return all(finding.action is not Action.BLOCK for finding in findings)


def _country_findings(transaction: Transaction, rules: ComplianceRules) -> Iterator[Finding]:
    for rule in rules.countries:
        found = [name for name in _COUNTRY_FIELDS if getattr(transaction, name) in rule.codes]
        if found:
            codes = sorted({getattr(transaction, name) for name in found})
            yield Finding(rule.name, rule.action, f"{', '.join(codes)} in {', '.join(found)}")
    missing = [name for name in rules.expected_countries if getattr(transaction, name) is None]
    if missing:
        message = f"not checked, because not given: {', '.join(missing)}"
        yield Finding(rules.country_unknown_rule, Action.REPORT, message)


def _name_findings(transaction: Transaction, rules: ComplianceRules) -> Iterator[Finding]:
    for field in _NAME_FIELDS:
        value = getattr(transaction, field)
        if value is not None:
            yield from _screen_name(field, normalise(value), rules)
    if transaction.customer_name is None:
        message = "not screened, because not given: customer_name"
        yield Finding(rules.name_unscreened_rule, Action.REPORT, message)


def _screen_name(field: str, name: Name, rules: ComplianceRules) -> Iterator[Finding]:
    for entry in rules.watch_list:
        if any(same_name(listed, name) for listed in entry.names):
            yield Finding(rules.watch_list_rule, entry.action, f"{field} is entry {entry.entry_id} of the watch list")
        elif any(similar_name(listed, name) for listed in entry.names):
            message = f"{field} is similar to entry {entry.entry_id} of the watch list"
            yield Finding(rules.watch_list_similar_rule, Action.REVIEW, message)
        elif any(shares_a_word(listed, name) for listed in entry.names):
            message = f"{field} is a single word that entry {entry.entry_id} of the watch list has too"
            yield Finding(rules.name_unscreened_rule, Action.REPORT, message)


def _amount_findings(money: Money, rules: ComplianceRules) -> Iterator[Finding]:
    if money.minor == 0:  # an account verification
        return
    code = money.currency.code
    threshold = rules.thresholds.get(code)
    if threshold is None:
        message = f"no reporting threshold is set for {code}"
        yield Finding(rules.threshold_unset_rule, Action.REPORT, message)
    elif money.minor >= threshold:
        yield Finding(rules.threshold_rule, Action.REPORT, f"the amount reaches the reporting threshold for {code}")
    elif money.minor * 100 >= threshold * rules.percent:
        message = f"the amount is within {100 - rules.percent} % below the reporting threshold for {code}"
        yield Finding(rules.structuring_rule, Action.REVIEW, message)
