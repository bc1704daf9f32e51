"""Payload fingerprints: equal for equal JSON values in any notation, different otherwise."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jsonata
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfn.workflow.composition import expressions
from cfn.workflow.limits import TRANSACTION_MAX_CHARACTERS
from tests.conftest import examples

_PARSED = jsonata.Jsonata.jsonata(expressions()["Fingerprint"])
_SUBMISSION = jsonata.Jsonata.jsonata(expressions()["Submission"])
_PARSED.register_lambda("hash", lambda text, _name: hashlib.sha256(text.encode()).hexdigest())


def fingerprint(payload: Any) -> str:
    states = {"context": {"Execution": {"Input": json.loads(json.dumps(payload))}}}
    submission = _SUBMISSION.evaluate(None, {"states": states})
    found: str = _PARSED.evaluate(None, {"states": states, "submission": submission})
    assert len(found) == 64
    return found


def turned(value: Any) -> Any:
    """The same value with the keys of every object reversed."""
    match value:
        case dict():
            return {key: turned(value[key]) for key in reversed(list(value))}
        case list():
            return [turned(each) for each in value]
    return value


SCALARS = st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(st.sampled_from('ab{}[],:"\\ é\n'), max_size=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab{,", max_size=2), inner, max_size=3),
    max_leaves=8,
)
PAYLOADS = st.dictionaries(st.text("abc{", min_size=1, max_size=3), VALUES, max_size=4)


@settings(max_examples=examples(2))
@given(PAYLOADS)
def test_the_order_of_keys_does_not_matter(payload: dict[str, Any]) -> None:
    assert fingerprint(turned(payload)) == fingerprint(payload)


@settings(max_examples=examples(2))
@given(PAYLOADS, PAYLOADS)
def test_different_payloads_differ(one: dict[str, Any], other: dict[str, Any]) -> None:
    # Compare as text: in Python 1 == True.
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one) == fingerprint(other)) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": "1"}),
        ({"a": True}, {"a": "true"}),
        ({"a": None}, {}),
        ({"a": []}, {"a": {}}),
        ({"a": [1]}, {"a": 1}),
        ({"a": [[1]]}, {"a": [1]}),
        ({"a": [[1], 2]}, {"a": [1, 2]}),
        ({"a": [[[1]], {}]}, {"a": [[1], {}]}),
        ({"a": [[], {}]}, {"a": [{}]}),
        ({"a": [None]}, {"a": []}),
        ({"a": [None]}, {"a": None}),
        ({"a": [{}]}, {"a": {}}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": {"b": 1}}, {"a": '{"b":1}'}),
        ({"a": "b", "c": "d"}, {"a": 'b","c":"d'}),
        ({"a,b": 1}, {"a": 1, "b": 1}),
        ({"a": "x"}, {"a": "x "}),
        ({"a": "é"}, {"a": "e\u0301"}),
    ],
)
def test_look_alikes_differ(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_a_number_is_its_value() -> None:
    assert fingerprint({"a": 100.0}) == fingerprint({"a": 100}) == fingerprint({"a": 1e2})


@pytest.mark.parametrize("length", [8_999, 9_000, 9_001, 18_000, 200_000])
def test_every_character_of_a_long_text_counts(length: int) -> None:
    assert fingerprint({"a": "x" * length + "y"}) != fingerprint({"a": "x" * length + "z"})


def test_deep_payloads_and_many_objects_are_not_normalised() -> None:
    deep: Any = 1
    for _level in range(200):
        deep = {"a": deep}
    many = {"a": [{"b": 1, "c": 2}] * 60}
    assert fingerprint(deep) != fingerprint({"a": deep})
    assert fingerprint(many) != fingerprint(turned(many))
    assert len(json.dumps(many)) < TRANSACTION_MAX_CHARACTERS


CARDS = (
    "4111111111111111",
    "5500000000000004",
    "4111 1111 1111 1111",
    4111111111111111,
    "４１１１１１１１１１１１１１１１",
)


@pytest.mark.parametrize("field", ["transaction_id", "customer_id", "note"])
@pytest.mark.parametrize("pad", ["", "x" * TRANSACTION_MAX_CHARACTERS], ids=["small", "large"])
def test_digits_of_card_data_are_not_in_a_fingerprint(field: str, pad: str) -> None:
    """Whoever reads the table could otherwise try card numbers until one gives the fingerprint."""

    def with_card(card: object) -> dict[str, Any]:
        return {"transaction_id": "t-1", "amount": "1.00", field: card, "pad": pad}

    assert len({fingerprint(with_card(card)) for card in CARDS[:3]}) == 1
    assert fingerprint(with_card(CARDS[0])) != fingerprint(with_card("token-1"))


@pytest.mark.parametrize("card", CARDS)
def test_a_security_code_is_not_in_a_fingerprint(card: object) -> None:
    codes = {
        fingerprint({"transaction_id": "t-1", "card": {"number": card, "cvv": f"{code:03}"}}) for code in range(20)
    }
    assert len(codes) == 1


def test_what_is_no_card_data_is_compared_by_every_digit() -> None:
    assert fingerprint({"amount": "10.00", "note": "123456789012"}) != fingerprint(
        {"amount": "10.01", "note": "123456789012"}
    )
