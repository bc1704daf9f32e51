"""Exact amounts: what is read, what is refused, and that nothing is rounded on the way."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transactions.currencies import MINOR_UNIT_DIGITS, WITHOUT_MINOR_UNIT
from transactions.money import MAX_MINOR_DIGITS, Amount, Currency, Money, MoneyError

CODES = st.sampled_from(sorted(MINOR_UNIT_DIGITS))
MINOR = st.integers(1, 10**MAX_MINOR_DIGITS - 1)
USD, JPY, KWD, CLF = (Currency.parse(code) for code in ("USD", "JPY", "KWD", "CLF"))

# ISO 4217 list one: every currency whose minor unit is not a hundredth.
DIGITS_0 = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
DIGITS_3 = "BHD IQD JOD KWD LYD OMR TND"
DIGITS_4 = "CLF UYW"
UNUSUAL = {code: digits for digits, codes in ((0, DIGITS_0), (3, DIGITS_3), (4, DIGITS_4)) for code in codes.split()}


def test_the_table_holds_every_code_of_list_one_once() -> None:
    assert len(MINOR_UNIT_DIGITS) == 165
    assert len(WITHOUT_MINOR_UNIT) == 13
    assert not MINOR_UNIT_DIGITS.keys() & WITHOUT_MINOR_UNIT
    assert {code: digits for code, digits in MINOR_UNIT_DIGITS.items() if digits != 2} == UNUSUAL


@pytest.mark.parametrize(
    "code", ["BGN", "HRK", "ZWL", "ANG", "SLL", "CUC", "DEM", "BTC", "", "US", "USDT", "U$D", "840"]
)
def test_codes_that_are_withdrawn_or_never_were_are_unknown(code: str) -> None:
    with pytest.raises(MoneyError) as error:
        Currency.parse(code)
    assert error.value.code == "unknown_code"


@pytest.mark.parametrize("code", sorted(WITHOUT_MINOR_UNIT))
def test_nothing_can_be_paid_in_a_code_without_minor_unit(code: str) -> None:
    with pytest.raises(MoneyError) as error:
        Currency.parse(code)
    assert error.value.code == "no_minor_unit"


@pytest.mark.parametrize("code", ["uſd", "ＵＳＤ", "\ufb01m"])
def test_only_ascii_letters_make_a_currency(code: str) -> None:
    # str.upper would make USD of "uſd" (long s) and FIM of the ligature.
    with pytest.raises(MoneyError):
        Currency.parse(code)


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "text"),
    [
        (100, "USD", 10000, "100.00"),
        (100.5, "USD", 10050, "100.50"),
        (0.1, "USD", 10, "0.10"),
        (0.29, "USD", 29, "0.29"),
        (1.15, "USD", 115, "1.15"),
        (4.35, "usd", 435, "4.35"),
        (1e2, "USD", 10000, "100.00"),
        (1e-2, "USD", 1, "0.01"),
        (9999999999.99, "USD", 999999999999, "9999999999.99"),
        ("100", "USD", 10000, "100.00"),
        ("100.5", "USD", 10050, "100.50"),
        ("0.01", "USD", 1, "0.01"),
        ("000100.50", "USD", 10050, "100.50"),
        ("100.5000", "USD", 10050, "100.50"),
        ("9999999999.99", "USD", 999999999999, "9999999999.99"),
        (100, "JPY", 100, "100"),
        (100.0, "JPY", 100, "100"),
        ("100.000", "JPY", 100, "100"),
        ("999999999999", "JPY", 999999999999, "999999999999"),
        ("1.234", "KWD", 1234, "1.234"),
        ("0.001", "KWD", 1, "0.001"),
        ("1.2345", "CLF", 12345, "1.2345"),
        (0.0001, "CLF", 1, "0.0001"),
    ],
)
def test_an_amount_is_read_exactly(amount: object, currency: str, minor: int, text: str) -> None:
    money = Money.parse(amount, currency)
    assert money.minor == minor
    assert str(money) == text


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (0, "USD", "not_positive"),
        (0.0, "USD", "not_positive"),
        (-0.0, "USD", "not_positive"),
        (-1, "USD", "not_positive"),
        (-0.01, "USD", "not_positive"),
        ("0", "USD", "not_positive"),
        ("0.00", "USD", "not_positive"),
        ("-5", "USD", "not_positive"),
        ("-0", "USD", "not_positive"),
        (100.5, "JPY", "precision"),
        ("100.5", "JPY", "precision"),
        ("0.001", "USD", "precision"),
        (1e-7, "USD", "precision"),
        ("1.2345", "KWD", "precision"),
        ("1.00001", "CLF", "precision"),
        ("10000000000", "USD", "too_large"),
        (10**10, "USD", "too_large"),
        (1e300, "USD", "too_large"),
        pytest.param(10**5000, "USD", "too_large", id="5001-digit-integer"),
        ("1" * 40, "USD", "too_large"),
        pytest.param("9" * 200_000, "USD", "too_large", id="200000-digit-string"),
        ("1000000000000", "JPY", "too_large"),
        (int("1" * 40), "USD", "inexact"),
        (9007199254740993, "JPY", "inexact"),
        (0.1 + 0.2, "USD", "inexact"),
        (1234567890.1234567, "USD", "inexact"),
        (float("nan"), "USD", "malformed"),
        (float("inf"), "USD", "malformed"),
        (float("-inf"), "USD", "malformed"),
        ("NaN", "USD", "malformed"),
        ("Infinity", "USD", "malformed"),
        ("1e3", "USD", "malformed"),
        ("1E+2", "USD", "malformed"),
        ("+5", "USD", "malformed"),
        ("", "USD", "malformed"),
        (" 5", "USD", "malformed"),
        ("5\n", "USD", "malformed"),
        (".5", "USD", "malformed"),
        ("5.", "USD", "malformed"),
        ("1,000.00", "USD", "malformed"),
        ("1_000", "USD", "malformed"),
        ("0x10", "USD", "malformed"),
        ("１００", "USD", "malformed"),
        ("١٠٠", "USD", "malformed"),
        ("--5", "USD", "malformed"),
        (True, "USD", "type"),
        (False, "USD", "type"),
        (None, "USD", "type"),
        ([100], "USD", "type"),
        ({"value": 100}, "USD", "type"),
        (100, 840, "type"),
        (100, None, "type"),
    ],
)
def test_an_amount_that_is_not_exact_money_is_refused(amount: object, currency: object, code: str) -> None:
    with pytest.raises(MoneyError) as error:
        Money.parse(amount, currency)
    assert error.value.code == code


@given(CODES, MINOR)
def test_text_and_minor_units_are_the_same_amount_in_every_currency(code: str, minor: int) -> None:
    currency = Currency.parse(code)
    money = Money(minor, currency)
    assert Money.parse(str(money), code) == money
    assert Decimal(str(money)).scaleb(currency.digits) == minor


@given(CODES, MINOR)
def test_a_json_number_of_a_payable_amount_is_read_without_loss_in_every_currency(code: str, minor: int) -> None:
    # 12 digits of minor units are fewer than the 15 that a double carries.
    money = Money(minor, Currency.parse(code))
    assert Money.parse(json.loads(str(money)), code) == money
    assert Money.parse(float(str(money)), code) == money


def refusal(amount: object, currency: object) -> str | None:
    """The code of the refusal, or None for an amount that is taken."""
    try:
        Money.parse(amount, currency)
    except MoneyError as error:
        return error.code
    return None


@given(CODES, st.decimals(min_value=0, max_value=10**9, places=6).filter(bool))
def test_an_amount_is_refused_rather_than_rounded(code: str, amount: Decimal) -> None:
    digits = MINOR_UNIT_DIGITS[code]
    if amount != amount.quantize(Decimal(1).scaleb(-digits)):
        expected = "precision"
    elif amount.scaleb(digits) >= 10**MAX_MINOR_DIGITS:
        expected = "too_large"
    else:
        expected = None
        assert Decimal(str(Money.parse(format(amount, "f"), code))) == amount
    assert refusal(format(amount, "f"), code) == expected


@given(st.text(max_size=80) | st.floats() | st.integers() | st.booleans() | st.none())
def test_reading_any_value_ends_in_money_or_in_a_coded_refusal(value: object) -> None:
    assert refusal(value, "USD") in {
        None, "type", "malformed", "not_positive", "inexact", "too_large", "precision",
    }  # fmt: skip


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Nd"]), min_size=7, max_size=80))
def test_a_refusal_does_not_repeat_the_amount(value: str) -> None:
    with pytest.raises(MoneyError) as error:
        Amount.parse(value)
    assert value not in str(error.value)
