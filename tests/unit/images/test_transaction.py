"""One reader for every field: all faults at once, nothing of the input repeated, one canonical form."""

from __future__ import annotations

import json
import string
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transactions.cardholder import has_card_number, is_card_field
from transactions.countries import COUNTRY_CODES
from transactions.currencies import MINOR_UNIT_DIGITS
from transactions.money import Currency, Money
from transactions.results import Fault
from transactions.transaction import (
    MAX_FAULTS,
    FieldError,
    Transaction,
    format_instant,
    is_transaction_id,
    parse_instant,
    read_transaction,
)

from tests.unit.images.loading import event, transaction

VISA = "4111111111111111"


def faults(**changes: Any) -> set[tuple[str, str]]:
    read = read_transaction(transaction(**changes))
    return set() if isinstance(read, Transaction) else {(fault.field, fault.code) for fault in read}


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("transaction_id", "", "length"),
        ("transaction_id", "a" * 65, "length"),
        ("transaction_id", "a b", "characters"),
        ("transaction_id", "a/b", "characters"),
        ("transaction_id", "ab\n", "characters"),
        ("transaction_id", "a\x00b", "characters"),
        ("transaction_id", "tränsaktion", "characters"),
        ("transaction_id", "аbc", "characters"),  # Cyrillic а
        ("transaction_id", "١٢٣", "characters"),
        ("transaction_id", 123, "type"),
        ("transaction_id", ["a"], "type"),
        ("transaction_id", VISA, "card_data"),
        ("merchant_id", "m\u200bid", "characters"),  # zero width space
        ("merchant_id", "m\u202eid", "characters"),  # right-to-left override
        ("merchant_id", "m\tid", "characters"),
        ("merchant_id", " m", "characters"),
        ("merchant_id", "m ", "characters"),
        ("merchant_id", " ", "characters"),
        ("customer_id", "customer-００１", "characters"),
        ("customer_id", "cafe\u0301", "characters"),
        ("customer_id", "\ud800", "characters"),
        ("customer_id", "c" * 65, "length"),
        ("customer_id", True, "type"),
        ("customer_id", "4111-1111-1111-1111", "card_data"),
        ("currency", "XXX", "no_minor_unit"),
        ("currency", "EURO", "unknown_code"),
        ("merchant_country", "UK", "unknown_code"),
        ("merchant_country", "USA", "unknown_code"),
        ("customer_country", "\ufb01", "unknown_code"),  # the ligature fi upper-cases to FI, Finland
        ("ip_country", "A1", "unknown_code"),
        ("ip_country", 1, "type"),
        ("merchant_category", "541", "format"),
        ("merchant_category", "54110", "format"),
        ("merchant_category", "５４１１", "format"),
        ("merchant_category", 5411, "type"),
        ("customer_name", "", "length"),
        ("customer_name", "n" * 141, "length"),
        ("customer_name", "   ", "length"),
        ("customer_name", "\u0344" * 140, "length"),  # two characters each when composed
        ("customer_name", "4111  1111\u00a01111  1111", "card_data"),
        ("customer_name", "Jane\nDoe", "characters"),
        ("customer_name", "Jane\u202eDoe", "characters"),
        ("beneficiary_name", f"Jane {VISA} Doe", "card_data"),
        ("beneficiary_name", {"first": "Jane"}, "type"),
        ("timestamp", "2026-11-23", "format"),
        ("timestamp", "2026-11-23T14:00:00", "format"),
        ("timestamp", "2026-11-23 14:00:00Z", "format"),
        ("timestamp", "2026-11-23T14:00Z", "format"),
        ("timestamp", "2026-W47-1T14:00:00Z", "format"),
        ("timestamp", "2026-02-30T14:00:00Z", "format"),
        ("timestamp", "2026-11-23T24:30:00Z", "format"),
        ("timestamp", "2026-11-23T14:00:00+99:00", "format"),
        ("timestamp", "0001-01-01T00:00:00+14:00", "format"),
        ("timestamp", "2026-11-23T14:00:00Z ", "format"),
        ("timestamp", 1795442400, "type"),
    ],
)
def test_a_field_that_cannot_be_used_is_one_fault(field: str, value: object, code: str) -> None:
    assert faults(**{field: value}) == {(field, code)}


@pytest.mark.parametrize("field", ["transaction_id", "amount", "currency", "merchant_id", "customer_id"])
@pytest.mark.parametrize("gone", ["absent", "null"])
def test_a_required_field_that_is_absent_or_null_is_missing(field: str, gone: str) -> None:
    document = transaction()
    if gone == "absent":
        del document[field]
    else:
        document[field] = None
    read = read_transaction(document)
    assert [(fault.field, fault.code) for fault in read] == [(field, "missing")]  # type: ignore[union-attr]


def test_an_optional_field_that_is_null_is_absent() -> None:
    assert read_transaction(transaction() | {"merchant_country": None, "customer_name": None}) == read_transaction(
        transaction()
    )


@pytest.mark.parametrize("amount", [0, 0.0, "0", "0.00", "00"])
def test_an_account_verification_has_the_amount_zero(amount: object) -> None:
    made = read_transaction(transaction(kind="account_verification", amount=amount, currency="KWD"))
    assert isinstance(made, Transaction)
    assert (made.kind, made.money.minor, str(made.money)) == ("account_verification", 0, "0.000")
    assert read_transaction(made.canonical(), canonical=True) == made


@pytest.mark.parametrize(
    ("kind", "amount", "expected"),
    [
        ("account_verification", "0.01", ("amount", "not_zero")),
        ("account_verification", -0.0, ("amount", "not_zero")),
        ("account_verification", "-1", ("amount", "not_zero")),
        ("account_verification", None, ("amount", "missing")),
        ("payment", "0", ("amount", "not_positive")),
        (None, "0", ("amount", "not_positive")),
        ("refund", "1", ("kind", "unknown_code")),
        (7, "1", ("kind", "type")),
    ],
)
def test_a_kind_decides_what_its_amount_may_be(kind: object, amount: object, expected: tuple[str, str]) -> None:
    assert faults(kind=kind, amount=amount) == {expected}


@pytest.mark.parametrize("document", [None, [], "text", 5, True, [transaction()]])
def test_what_is_not_an_object_is_one_fault(document: object) -> None:
    assert [fault.code for fault in read_transaction(document)] == ["not_an_object"]  # type: ignore[union-attr]


def test_all_faults_are_told_at_once_in_the_order_of_the_fields() -> None:
    read = read_transaction(event("faulty")["transaction"])
    assert [(fault.field, fault.code) for fault in read] == [  # type: ignore[union-attr]
        ("transaction_id", "characters"),
        ("amount", "not_positive"),
        ("currency", "unknown_code"),
        ("merchant_id", "missing"),
        ("customer_id", "characters"),
        ("timestamp", "format"),
        ("merchant_contry", "unknown_field"),
        ("card_number", "card_data"),
    ]


def test_amount_and_currency_are_each_judged_when_the_other_is_faulty() -> None:
    assert faults(amount="12.345", currency="ABC") == {("currency", "unknown_code")}
    assert faults(amount="1e5", currency="ABC") == {("amount", "malformed"), ("currency", "unknown_code")}


CARD_FIELDS = """
    pan PAN card_number cardNumber Card-Number card.number cvv CVV2 cvc track_2_data pin expiry_date expirationDate
    cardholder_name pin_block security-code
"""


@pytest.mark.parametrize("name", [*CARD_FIELDS.split(), "security code"])
def test_card_data_is_refused_by_the_name_of_its_field(name: str) -> None:
    read = read_transaction(transaction() | {name: "tok-secret"})
    assert [fault.code for fault in read] == ["card_data"]  # type: ignore[union-attr]
    assert "tok-secret" not in str(read)


@pytest.mark.parametrize("name", ["merchant_category", "customer_name", "spanish_name", "company", "spin", "discard"])
def test_other_names_are_not_taken_for_card_data(name: str) -> None:
    assert not is_card_field(name)


@pytest.mark.parametrize(
    "text",
    [
        VISA,
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "order-4111111111111111-2026",
        "12 4111 1111 1111 1111 34",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "30569309025904",
        "6011111111111117",
        "3530111333300000",
        "6200000000000005",
        "4222222222222",
        "4000000000000000006",
        # Of no scheme, but nothing else than digits.
        "0000000000000000",
        "9999-9999-9999-9995",
        "４１１１１１１１１１１１１１１１",
    ],
)
def test_a_card_number_is_found_in_text(text: str) -> None:
    assert has_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # wrong check digit
        "1732370000000",  # milliseconds since 1970
        "1732370000000000000",  # nanoseconds
        "411111111111",  # too short
        "41111111111111111111",  # too long, and the groups are not whole
        "550e8400-e29b-41d4-a716-446655440000",
        "merchant-001",
    ],
)
def test_other_numbers_are_not_taken_for_card_numbers(text: str) -> None:
    assert not has_card_number(text)


@pytest.mark.parametrize("name", [VISA, "x" * 300, "na\nme", "<script>", "", "\u202e", f"f_{VISA}"])
def test_an_unknown_field_with_an_unsafe_name_is_not_named(name: str) -> None:
    read = read_transaction(transaction() | {name: 1})
    assert [(fault.field, fault.code) for fault in read] == [("(unprintable)", "unknown_field")]  # type: ignore[union-attr]


def test_thousands_of_unknown_fields_get_a_short_answer() -> None:
    read = read_transaction({f"field_{number}": number for number in range(5000)})
    assert len(read) == MAX_FAULTS + 1  # type: ignore[arg-type]
    assert read[0] == Fault("transaction_id", "missing", "this field is required")  # type: ignore[index]
    assert read[-1].code == "too_many_faults"  # type: ignore[index]


def test_the_canonical_form_of_a_full_transaction() -> None:
    read = read_transaction(event("full")["transaction"])
    assert isinstance(read, Transaction)
    assert read.canonical() == {
        "transaction_id": "full-1",
        "amount": "9500.50",
        "amount_minor": 950050,
        "currency": "EUR",
        "merchant_id": "merchant-001",
        "customer_id": "customer-001",
        "timestamp": "2026-11-23T13:59:58.123Z",
        "merchant_category": "7995",
        "merchant_country": "MT",
        "customer_country": "DE",
        "ip_country": "NL",
        "customer_name": "Jürgen Großmuster",
        "beneficiary_name": "Erika Beispiel",
    }


def test_only_a_canonical_transaction_has_minor_units_and_they_must_agree() -> None:
    canonical = event("canonical-sample")["transaction"]
    assert isinstance(read_transaction(canonical, canonical=True), Transaction)
    assert [fault.code for fault in read_transaction(canonical)] == ["unknown_field"]  # type: ignore[union-attr]
    wrong = canonical | {"amount_minor": 100}
    assert [fault.code for fault in read_transaction(wrong, canonical=True)] == ["mismatch"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("  Jane   Doe ", "Jane Doe"),
        ("Jane\u00a0Doe", "Jane Doe"),
        ("山田\u3000太郎", "山田 太郎"),
        ("Jose\u0301", "José"),
        ("علی\u200cرضا", "علی\u200cرضا"),
        ("O’Neil-Smith & Sons", "O’Neil-Smith & Sons"),
    ],
)
def test_a_name_is_kept_composed_and_with_single_spaces(name: str, kept: str) -> None:
    read = read_transaction(transaction(customer_name=name))
    assert isinstance(read, Transaction)
    assert read.customer_name == kept


def test_names_do_not_show_in_the_text_of_a_transaction() -> None:
    assert "Jürgen" not in repr(read_transaction(event("full")["transaction"]))


PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)
IDS = st.text(string.ascii_letters + string.digits + "._:-", min_size=1, max_size=64)
COUNTRIES = st.none() | st.sampled_from(sorted(COUNTRY_CODES))
INSTANTS = st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(
    lambda instant: instant.replace(microsecond=instant.microsecond // 1000 * 1000)
)
TRANSACTIONS = st.builds(
    Transaction,
    transaction_id=IDS.filter(lambda text: not has_card_number(text)),
    money=st.builds(Money, st.integers(1, 10**12 - 1), st.sampled_from(sorted(MINOR_UNIT_DIGITS)).map(Currency.parse)),
    merchant_id=PRINTABLE.filter(lambda text: not has_card_number(text)),
    customer_id=PRINTABLE.filter(lambda text: not has_card_number(text)),
    timestamp=INSTANTS,
    merchant_category=st.none() | st.integers(0, 9999).map("{:04d}".format),
    merchant_country=COUNTRIES,
    customer_country=COUNTRIES,
    ip_country=COUNTRIES,
    customer_name=st.none() | st.sampled_from(["Jane Doe", "Đặng Thị Hà", "李小龍", "O'Neil-Smith & Sons, Ltd."]),
    beneficiary_name=st.none(),
)


@given(TRANSACTIONS)
def test_reading_the_canonical_form_gives_the_same_transaction_after_any_json_road(made: Transaction) -> None:
    travelled = json.loads(json.dumps(made.canonical()), parse_int=float)  # as a reader that knows only doubles
    assert read_transaction(travelled, canonical=True) == made


@given(st.text(max_size=150) | st.text("ée\u0301 \u00a0\u200d41-", min_size=1, max_size=30))
def test_a_name_that_is_kept_is_kept_again(name: str) -> None:
    read = read_transaction(transaction(customer_name=name))
    if isinstance(read, Transaction):
        assert read_transaction(read.canonical(), canonical=True) == read


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*event("full")["transaction"], "amount_minor", "cvv", "note"]) | st.text(max_size=70)


@given(st.dictionaries(NAMES, JSON, max_size=14) | JSON, st.booleans())
@example({"timestamp": "9999-12-31T23:59:59-14:00"}, False)
def test_reading_anything_gives_a_transaction_or_faults_that_can_be_answered(document: Any, canonical: bool) -> None:
    read = read_transaction(document, canonical=canonical)
    if not isinstance(read, Transaction):
        assert read
        json.dumps([fault._asdict() for fault in read], ensure_ascii=False).encode("utf-8")


SECRET = "Zq7Xv9Kp2Wm4"


@given(st.dictionaries(NAMES.filter(lambda name: SECRET not in name), st.sampled_from([SECRET, [SECRET], {SECRET: 1}])))
def test_no_fault_repeats_a_value(document: dict[str, Any]) -> None:
    read = read_transaction(document)
    if not isinstance(read, Transaction):
        assert SECRET not in str(read)


def test_times_are_read_to_the_millisecond_and_written_in_order() -> None:
    instant = parse_instant("2026-11-23T16:00:00.1239999+02:00")
    assert instant == datetime(2026, 11, 23, 14, 0, 0, 123000, tzinfo=UTC)
    assert format_instant(instant) == "2026-11-23T14:00:00.123Z"
    assert format_instant(datetime(999, 1, 1, tzinfo=UTC)) == "0999-01-01T00:00:00.000Z"
    with pytest.raises(FieldError):
        parse_instant(None)


@given(st.lists(st.datetimes(datetime(1, 1, 2), timezones=st.just(UTC)), min_size=2, max_size=2))
def test_the_text_order_of_times_is_their_order(pair: list[datetime]) -> None:
    earlier, later = sorted(pair)
    assert format_instant(earlier) <= format_instant(later)


@pytest.mark.parametrize(
    ("value", "usable"),
    [
        ("test-123", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("a b", False),
        ("", False),
        (None, False),
        (VISA, False),
    ],
)
def test_which_ids_may_be_logged(value: object, usable: bool) -> None:
    assert is_transaction_id(value) is usable


@given(st.uuids(version=4))
def test_an_id_that_is_a_uuid_is_no_card(identifier: uuid.UUID) -> None:
    for text in (str(identifier), identifier.hex):
        if any(letter in "abcdef" for letter in text):
            assert not has_card_number(f"order-{text}")
            assert has_card_number(f"{text} 4111111111111111")


def test_a_card_number_next_to_a_uuid_s_letters_is_found() -> None:
    assert has_card_number("4111-1111-1111-1111")
    assert not has_card_number("b4111111-1111-4111-8111-111111111111")
    assert not has_card_number("c4111111111111111b35c1a2f7e9d0a6")
    assert has_card_number("c4111111111111111b35c1a2f7e9d0a6d")  # no UUID: too long
    assert has_card_number("order c4111111111111111b")
