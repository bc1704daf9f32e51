"""The workflow and the functions agree on what is card data: what one of them refuses, the other never writes."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import jsonata
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfn.workflow.composition import expressions
from cfn.workflow.limits import CARD_FIELDS, PARKED_MAX_CHARACTERS
from tests.conftest import examples
from tests.unit.images.loading import IMAGES

if str(IMAGES) not in sys.path:
    sys.path.append(str(IMAGES))
from transactions.cardholder import _FIELD_NAME, has_card_number
from transactions.transaction import is_transaction_id

_PARSED = jsonata.Jsonata.jsonata(expressions()["Submission"])
CARD = "4111111111111111"


def submission(value: Any) -> dict[str, Any]:
    states = {"context": {"Execution": {"Input": json.loads(json.dumps(value))}}}
    found: dict[str, Any] = _PARSED.evaluate(None, {"states": states})
    assert (type(found["id"]), type(found["card"])) == (str, bool)
    return found


def test_both_know_the_same_fields() -> None:
    assert _FIELD_NAME.pattern == CARD_FIELDS


@pytest.mark.parametrize(
    "text",
    [
        CARD,
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111.1111.1111.1111",
        f"order-{CARD}-2026",
        "378282246310005",
        "30569309025904",
        "6011111111111117",
        "3530111333300000",
        "1234567890123452",  # of no scheme, but nothing else than 16 digits with a right check digit
        "1234-5678-9012-3452",
    ],
)
def test_a_card_number_is_no_id(text: str) -> None:
    assert has_card_number(text)
    found = submission({"transaction_id": text})
    assert (found["id"], found["card"]) == ("", True)


@pytest.mark.parametrize(
    "text",
    [
        "test-123",
        "1732000000000",  # a time in milliseconds
        "order-20261130-000123",
        "f47ac10b-58cc-4372-a567-0e02b2c3d479",
        "4a11111111111111b111111111111111",
        "4111111111111112",
        "a" * 64,
    ],
)
def test_an_id_without_a_card_number_is_used(text: str) -> None:
    assert not has_card_number(text)
    assert submission({"transaction_id": text, "customer_id": text})["id"] == text


DIGITS = st.text(st.sampled_from("0123456789"), min_size=10, max_size=20)
ROWS = st.lists(DIGITS | st.text("0123456789", min_size=1, max_size=6), min_size=1, max_size=4)
SCHEMES = st.sampled_from(["4", "51", "2720", "37", "36", "6011", "62", "35", "30", "50", "1", "9"])
HEX = st.uuids().flatmap(lambda made: st.sampled_from([str(made), made.hex, made.hex.upper()]))
IDS = (
    st.builds(lambda row, separator: separator.join(row), ROWS, st.sampled_from(["-", ".", ":", "_", ""]))
    | st.builds(lambda before, scheme, rest, after: f"{before}{scheme}{rest}{after}",
                st.sampled_from(["", "o-", "x"]), SCHEMES, DIGITS, st.sampled_from(["", "-1", "-a"]))
    | HEX
    | st.text("abcXYZ0189._:- ", max_size=20)
).filter(lambda text: len(text) <= 64)  # fmt: skip


@settings(max_examples=examples(3))
@given(IDS)
def test_the_workflow_uses_exactly_the_ids_that_the_functions_take(text: str) -> None:
    found = submission({"transaction_id": text})
    assert (found["id"] != "") is (is_transaction_id(text) and text != "")


@pytest.mark.parametrize("name", ["cvv", "CVV2", "card-number", "Card Number", "card_holder", "PAN", "exp.month"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_field_for_card_data_is_card_data(name: str, nested: bool) -> None:
    value = {"transaction_id": "t", name: "123"}
    assert submission({"payment": value} if nested else value)["card"] is True
    assert submission([value])["card"] is True


@pytest.mark.parametrize(
    ("value", "card"),
    [
        ({"transaction_id": "t", "note": f"paid with {CARD}"}, True),
        ({"transaction_id": "t", "note": int(CARD)}, True),
        ({"transaction_id": "t", "note": 4111111111111112}, True),  # what $string may have rounded a card number to
        ([-4111111111111112], True),
        (4111111111111112, True),
        ({"transaction_id": "t", "amount": 999999999999, "note": [1.25, 12345678.25]}, False),
        ({"transaction_id": "t", "note": "４１１１１１１１１１１１１１１１"}, True),
        ({"transaction_id": "t", "note": "9" * 65}, True),
        ({"transaction_id": "t", "note": [f"{number:013}" for number in range(20)]}, True),
        ({"transaction_id": "t", "timestamp": "2026-11-30T12:00:00.000Z", "amount": "123456789012"}, False),
        ({"transaction_id": "t", "spanner": "1", "pinned": 2, "recipient": "cid"}, False),
        ("x", False),
        ([], False),
        (None, False),
        (CARD, True),
    ],
)
def test_what_is_withheld(value: Any, card: bool) -> None:
    assert submission(value)["card"] is card


@pytest.mark.parametrize(
    "value",
    [
        [{"transaction_id": "t"}],
        [[{"transaction_id": "t"}]],
        {"transaction_id": ["t"]},
        {"transaction_id": {"transaction_id": "t"}},
        {"transaction_id": None},
        {"transaction_id": ""},
        {"transaction_id": "a" * 65},
        {},
        [],
        "t",
        7,
        True,
        None,
    ],
)
def test_only_the_text_of_an_object_is_an_id(value: Any) -> None:
    assert submission(value)["id"] == ""


def test_only_a_usable_id_has_a_fingerprint_to_seal() -> None:
    assert submission({"transaction_id": "t", "note": CARD})["sealed"] is True
    assert submission({"transaction_id": "t", "note": "a"})["sealed"] is False
    for value in ({"note": CARD}, {"transaction_id": CARD}, [{"transaction_id": "t", "note": CARD}], CARD):
        assert submission(value)["sealed"] is False


def test_a_long_input_is_looked_at_as_far_as_it_is_kept() -> None:
    long = "x" * PARKED_MAX_CHARACTERS
    assert submission({"transaction_id": "t", "rest": long, "note": CARD})["sealed"] is True
    assert submission({"note": CARD, "rest": long})["card"] is True
    assert submission({"rest": long, "note": CARD})["card"] is False
    assert not re.search(r"\s", expressions()["CardFields"])
