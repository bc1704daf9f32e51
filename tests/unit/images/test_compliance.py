"""Compliance findings: thresholds, structuring, countries, and names in normal form."""

from __future__ import annotations

import csv
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from names import normalise, same_name, shares_a_word, similar_name
from screening import ComplianceRules, is_compliant, screen
from transactions.currencies import MINOR_UNIT_DIGITS
from transactions.money import Currency, Money
from transactions.rules import RulesError
from transactions.transaction import Transaction, read_transaction

from tests.unit.images.loading import IMAGES, transaction

FOLDER = IMAGES / "compliance-checking" / "rules"
RULES = ComplianceRules.load(FOLDER)


# What a transaction has when nothing is left out.
COMPLETE = {"merchant_country": "DE", "customer_country": "DE", "customer_name": "Erika Mustermann"}


def findings(**changes: Any) -> list[tuple[str, str]]:
    made = read_transaction(transaction(**COMPLETE | changes))
    assert isinstance(made, Transaction)
    return [(finding.rule, finding.action.value) for finding in screen(made, RULES)]


def test_a_harmless_complete_transaction_has_no_finding() -> None:
    assert findings() == []


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("merchant_country", [("country_unknown", "REPORT")]),
        ("customer_country", [("country_unknown", "REPORT")]),
        ("ip_country", []),
        ("customer_name", [("name_unscreened", "REPORT")]),
        ("beneficiary_name", []),
    ],
)
def test_what_is_left_out_is_on_record(field: str, expected: list[tuple[str, str]]) -> None:
    assert findings(**{field: None}) == expected


def test_one_finding_names_every_country_that_is_left_out() -> None:
    made = read_transaction(transaction(customer_name="Erika Mustermann"))
    assert isinstance(made, Transaction)
    messages = [finding.message for finding in screen(made, RULES)]
    assert messages == ["not checked, because not given: merchant_country, customer_country"]


def test_a_name_of_one_word_that_is_on_the_list_is_on_record_as_unscreened() -> None:
    assert findings(customer_name="Sanctionov") == [("name_unscreened", "REPORT")]
    assert findings(customer_name="Snactionov") == [("name_unscreened", "REPORT")]
    assert findings(customer_name="Mustermann") == []


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
    money = Money(minor, Currency.parse(code))
    made = Transaction(transaction_id="t", money=money, merchant_id="m", customer_id="c", **COMPLETE)
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
    made = read_transaction(
        transaction(merchant_country="KP", customer_country="DE", ip_country="CU", customer_name="Erika")
    )
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
        ("Viktor Sanctionov", SIMILAR),
        ("V. Sanctionov", SIMILAR),
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
    made = read_transaction(transaction(**COMPLETE | {"customer_name": "Viktor Ivan Examplovich Sanctionov"}))
    assert isinstance(made, Transaction)
    (finding,) = screen(made, RULES)
    assert finding.message == "customer_name is similar to entry WL-0001 of the watch list"


def test_only_a_block_makes_a_transaction_not_compliant() -> None:
    def compliant(**changes: Any) -> bool:
        made = read_transaction(transaction(**COMPLETE | changes))
        assert isinstance(made, Transaction)
        return is_compliant(screen(made, RULES))

    assert compliant()
    assert compliant(amount="10000")
    assert compliant(amount="9500", merchant_country="RU")
    assert not compliant(merchant_country="RU", ip_country="IR")


PAIRS = list(csv.DictReader((Path(__file__).parent / "name_pairs.csv").read_text().splitlines()))


@pytest.mark.parametrize("pair", PAIRS, ids=[f"{pair['listed']} | {pair['name']}" for pair in PAIRS])
def test_pairs_of_names(pair: dict[str, str]) -> None:
    listed, name = normalise(pair["listed"]), normalise(pair["name"])
    found = "same" if same_name(listed, name) else "similar" if similar_name(listed, name) else "different"
    assert found == pair["expected"], pair["reason"]
    assert (similar_name(name, listed) or same_name(name, listed)) is (found != "different"), "in both directions"


WORDS = st.lists(st.text("abdefgmz", min_size=3, max_size=9), min_size=2, max_size=4, unique=True)


@given(WORDS, st.randoms())
def test_order_case_accents_and_punctuation_do_not_make_another_name(words: list[str], random: Any) -> None:
    shuffled = random.sample(words, len(words))
    accented = [word.replace("a", "á").replace("e", "È").upper() for word in shuffled]
    assert same_name(normalise(" ".join(words)), normalise(" ,  ".join(accented)))


@given(WORDS, st.text("abdefgmz", min_size=3, max_size=9))
def test_a_further_word_leaves_a_name_similar_in_both_directions(words: list[str], further: str) -> None:
    listed, longer = normalise(" ".join(words)), normalise(" ".join([*words, further]))
    assert len(listed.words) < 2 or (similar_name(listed, longer) and similar_name(longer, listed))


@given(st.text(max_size=140), st.text(max_size=140))
def test_comparing_never_fails_and_is_symmetric(one: str, other: str) -> None:
    listed, name = normalise(one), normalise(other)
    assert similar_name(listed, name) is similar_name(name, listed)
    shares_a_word(listed, name)


def test_a_name_of_many_alike_words_is_compared_quickly() -> None:
    listed = normalise("abcdefgha abcdefghb abcdefghc wwwwwwwww zzzzzzzzz")
    assert not similar_name(listed, normalise(" ".join(f"abcdefg{letter}x" for letter in "bcdefghjklmno")))


def test_the_shipped_rules_are_of_their_date_and_of_real_currencies() -> None:
    assert RULES.version == "2026-11-30"
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
        (("country_unknown", "fields"), ["merchant"]),
        (("watch_list", "entries"), None),
        (("watch_list", "entries", 0, "action"), "SHRUG"),
    ],
)
def test_a_broken_rule_file_is_told_at_load(tmp_path: Path, path: tuple[Any, ...], value: object) -> None:
    document = json.loads((FOLDER / "2026-11-30.json").read_text())
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    (tmp_path / "2026-11-30.json").write_text(json.dumps(document))
    with pytest.raises(RulesError, match="2026-11-30"):
        ComplianceRules.load(tmp_path)
