"""Compliance findings: thresholds, structuring, countries, and names in normal form."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from names import normalise, same_name, similar_name, within_one_edit
from screening import ComplianceRules, is_compliant, screen
from transactions.currencies import MINOR_UNIT_DIGITS
from transactions.money import Currency, Money
from transactions.rules import RulesError
from transactions.transaction import Transaction, read_transaction

from tests.unit.images.loading import IMAGES, transaction

FOLDER = IMAGES / "compliance-checking" / "rules"
RULES = ComplianceRules.load(FOLDER)


def findings(**changes: Any) -> list[tuple[str, str]]:
    made = read_transaction(transaction(**changes))
    assert isinstance(made, Transaction)
    return [(finding.rule, finding.action.value) for finding in screen(made, RULES)]


def test_the_sample_transaction_has_no_finding() -> None:
    assert findings() == []


REPORT, STRUCTURING = [("reporting_threshold", "REPORT")], [("structuring", "REVIEW")]


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("8999.99", "USD", []),
        ("9000.00", "USD", STRUCTURING),
        ("9999.99", "USD", STRUCTURING),
        ("10000.00", "USD", REPORT),
        ("9999999999.99", "USD", REPORT),
        ("10000", "JPY", []),
        ("1799999", "JPY", []),
        ("1800000", "JPY", STRUCTURING),
        ("1999999", "JPY", STRUCTURING),
        ("2000000", "JPY", REPORT),
        ("2699.999", "KWD", []),
        ("2700", "KWD", STRUCTURING),
        ("2999.999", "KWD", STRUCTURING),
        ("3000", "KWD", REPORT),
        ("1", "ZMW", [("reporting_threshold_unset", "REPORT")]),
    ],
)
def test_thresholds_per_currency_and_structuring_just_below(
    amount: str, currency: str, expected: list[tuple[str, str]]
) -> None:
    assert findings(amount=amount, currency=currency) == expected


@given(st.sampled_from(sorted(RULES.thresholds)), st.integers(1, 10**12 - 1))
def test_every_amount_of_a_known_currency_is_below_just_below_or_reported(code: str, minor: int) -> None:
    made = Transaction(transaction_id="t", money=Money(minor, Currency.parse(code)), merchant_id="m", customer_id="c")
    threshold = RULES.thresholds[code]
    expected = ["reporting_threshold"] if minor >= threshold else ["structuring"] if minor >= threshold * 0.9 else []
    assert [finding.rule for finding in screen(made, RULES)] == expected


@pytest.mark.parametrize("field", ["merchant_country", "customer_country", "ip_country"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("KP", [("country_embargoed", "BLOCK")]),
        ("ir", [("country_embargoed", "BLOCK")]),
        ("RU", [("country_restricted", "REVIEW")]),
        ("KR", []),
    ],
)
def test_countries_under_sanctions(field: str, code: str, expected: list[tuple[str, str]]) -> None:
    assert findings(**{field: code}) == expected


def test_a_country_rule_is_one_finding_that_names_every_field() -> None:
    made = read_transaction(transaction(merchant_country="KP", customer_country="DE", ip_country="CU"))
    assert isinstance(made, Transaction)
    assert [finding.message for finding in screen(made, RULES)] == ["CU, KP in merchant_country, ip_country"]


EXACT_BLOCK = [("watch_list", "BLOCK")]
EXACT_REVIEW = [("watch_list", "REVIEW")]
SIMILAR = [("watch_list_similar", "REVIEW")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Viktor Examplovich Sanctionov", EXACT_BLOCK),
        ("SANCTIONOV, VIKTOR EXAMPLOVICH", EXACT_BLOCK),
        ("  viktor   examplovich\u00a0sanctionov ", EXACT_BLOCK),
        ("Mr. Viktor Examplovich Sanctionov", EXACT_BLOCK),
        ("Vіktоr Examplovich Sаnctionov", EXACT_BLOCK),  # Cyrillic і, о, а
        ("Ｖｉｋｔｏｒ Examplovich Sanctionov", EXACT_BLOCK),  # full width
        ("виктор санкционов", EXACT_BLOCK),
        ("Viktor Examplovich Sanctionow", SIMILAR),
        ("Viktor Examplovich Snactionov", SIMILAR),
        ("Viktor Ivan Examplovich Sanctionov", SIMILAR),
        ("Viktor Sanctionov", []),
        ("Viktor Example", []),
        ("Northwind Sample Shipping", EXACT_BLOCK),
        ("NORTHWIND SAMPLE SHIPPING, L.L.C.", EXACT_BLOCK),
        ("Northwind-Sample Shipping Ltd", EXACT_BLOCK),
        ("Northwind Sample Shipping Singapore", SIMILAR),
        ("Northwind Trading", []),
        ("Maria Jose Ejemplo Munoz", EXACT_REVIEW),
        ("MUÑOZ EJEMPLO, MARÍA JOSÉ", EXACT_REVIEW),
        (unicodedata.normalize("NFD", "María José Ejemplo Muñoz"), EXACT_REVIEW),
        ("Jurgen Grossmuster", EXACT_REVIEW),
        ("GROSSMUSTER, Juergen", EXACT_REVIEW),
        ("Jürgen Großmustér", EXACT_REVIEW),
        ("Erika Mustermann", []),
        ("李小龍", []),
    ],
)
@pytest.mark.parametrize("field", ["customer_name", "beneficiary_name"])
def test_names_are_screened_by_normal_form(field: str, name: str, expected: list[tuple[str, str]]) -> None:
    assert findings(**{field: name}) == expected


def test_no_finding_repeats_a_name() -> None:
    made = read_transaction(transaction(customer_name="Viktor Ivan Examplovich Sanctionov"))
    assert isinstance(made, Transaction)
    (finding,) = screen(made, RULES)
    assert finding.message == "customer_name is similar to entry WL-0001 of the watch list"


def test_only_a_block_makes_a_transaction_not_compliant() -> None:
    def compliant(**changes: Any) -> bool:
        made = read_transaction(transaction(**changes))
        assert isinstance(made, Transaction)
        return is_compliant(screen(made, RULES))

    assert compliant()
    assert compliant(amount="10000")
    assert compliant(amount="9500", merchant_country="RU")
    assert not compliant(merchant_country="RU", ip_country="IR")


WORDS = st.lists(st.text("abcdefgxyz", min_size=3, max_size=9), min_size=2, max_size=4, unique=True)


@given(WORDS, st.randoms())
def test_order_case_accents_and_punctuation_do_not_make_another_name(words: list[str], random: Any) -> None:
    shuffled = random.sample(words, len(words))
    accented = [word.replace("a", "á").replace("e", "È").upper() for word in shuffled]
    assert same_name(normalise(" ".join(words)), normalise(" ,  ".join(accented)))


@given(WORDS, st.text("abcdefgxyz", min_size=3, max_size=9))
def test_a_further_word_leaves_a_name_similar(words: list[str], further: str) -> None:
    listed = normalise(" ".join(words))
    assert len(listed) < 2 or similar_name(listed, normalise(" ".join([*words, further])))


@given(st.text(max_size=140), st.text(max_size=140))
def test_comparing_never_fails_and_a_name_is_itself(one: str, other: str) -> None:
    assert normalise(one) == normalise(one.swapcase().swapcase()) or not one.isascii()
    similar_name(normalise(one), normalise(other))


def test_a_single_listed_word_stops_nobody_who_shares_it() -> None:
    assert not similar_name(normalise("Smith"), normalise("John Smith"))


def test_a_short_word_with_another_letter_is_another_name() -> None:
    assert not similar_name(normalise("Anna Example"), normalise("Hanna Example"))


def edits(word: str) -> set[str]:
    """Everything one edit away, by brute force."""
    letters = "abc"
    splits = [(word[:cut], word[cut:]) for cut in range(len(word) + 1)]
    return {
        word,
        *(left + right[1:] for left, right in splits if right),
        *(left + letter + right for left, right in splits for letter in letters),
        *(left + letter + right[1:] for left, right in splits if right for letter in letters),
        *(left + right[1] + right[0] + right[2:] for left, right in splits if len(right) > 1),
    }


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_one_edit_is_one_letter_more_less_other_or_swapped(one: str, other: str) -> None:
    assert within_one_edit(one, other) is (other in edits(one))


@given(st.text("abc", max_size=6).flatmap(lambda word: st.tuples(st.just(word), st.sampled_from(sorted(edits(word))))))
def test_every_single_edit_is_found(pair: tuple[str, str]) -> None:
    assert within_one_edit(*pair)


def test_the_shipped_rules_are_of_their_date_and_of_real_currencies() -> None:
    assert RULES.version == "2026-11-01"
    assert RULES.thresholds.keys() <= MINOR_UNIT_DIGITS.keys()
    assert len({entry.entry_id for entry in RULES.watch_list}) == len(RULES.watch_list)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("countries", "BLOCK", "codes"), ["KP", "UK"]),
        (("countries", "STOP"), {"rule": "x", "codes": []}),
        (("reporting", "from", "USD"), "ten"),
        (("reporting", "from", "JPY"), "0.5"),
        (("structuring", "percent_of_threshold"), 100),
        (("structuring", "percent_of_threshold"), 90.5),
        (("watch_list", "entries"), None),
        (("watch_list", "entries", 0, "action"), "SHRUG"),
    ],
)
def test_a_broken_rule_file_is_told_at_load(tmp_path: Path, path: tuple[Any, ...], value: object) -> None:
    document = json.loads((FOLDER / "2026-11-01.json").read_text())
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    (tmp_path / "2026-11-01.json").write_text(json.dumps(document))
    with pytest.raises(RulesError, match="2026-11-01"):
        ComplianceRules.load(tmp_path)
