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
from cfn.workflow.limits import FINGERPRINT_KEY_CHARACTERS, PARKED_MAX_CHARACTERS, TRANSACTION_MAX_CHARACTERS
from tests.conftest import examples

_PARSED = {
    name: jsonata.Jsonata.jsonata(expressions()[name]) for name in ("Submission", "Digest", "Seal", "Fingerprint")
}
for _expression in _PARSED.values():
    _expression.register_lambda("hash", lambda text, _name: hashlib.sha256(text.encode()).hexdigest())
KEY, ANOTHER_KEY = "k" * FINGERPRINT_KEY_CHARACTERS, "j" * FINGERPRINT_KEY_CHARACTERS


def seal(payload: Any, secret: dict[str, Any]) -> Any:
    """What the state Seal assigns to ``$seal`` for an answer of Secrets Manager."""
    states = {"context": {"Execution": {"Input": payload}}, "result": secret}
    return _PARSED["Seal"].evaluate(None, {"states": states})


def fingerprint(payload: Any, key: str = KEY) -> str:
    payload = json.loads(json.dumps(payload))
    states = {"context": {"Execution": {"Input": payload}}}
    submission = _PARSED["Submission"].evaluate(None, {"states": states})
    sealed = {"seal": seal(payload, {"SecretString": key})} if submission["sealed"] else {}
    found: str = _PARSED["Fingerprint"].evaluate(None, {"states": states, "submission": submission, **sealed})
    assert len(found) == 64
    return found


def digest(payload: Any) -> str:
    states = {"context": {"Execution": {"Input": json.loads(json.dumps(payload))}}}
    found: str = _PARSED["Digest"].evaluate(None, {"states": states})
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


def with_card(card: object, pad: str = "", **more: Any) -> dict[str, Any]:
    return {"transaction_id": "t-1", "amount": "1.00", "note": card, "pad": pad, **more}


@pytest.mark.parametrize("pad", ["", "x" * TRANSACTION_MAX_CHARACTERS], ids=["small", "large"])
@pytest.mark.parametrize("card", CARDS)
def test_what_looks_like_card_data_needs_a_key(card: object, pad: str) -> None:
    """Whoever reads the table could otherwise try card numbers until one gives the fingerprint."""
    payload = with_card(card, pad)
    assert fingerprint(payload) not in (fingerprint(payload, ANOTHER_KEY), digest(payload))


@pytest.mark.parametrize("pad", ["", "x" * TRANSACTION_MAX_CHARACTERS], ids=["small", "large"])
def test_payloads_with_card_numbers_are_told_apart_by_every_digit(pad: str) -> None:
    assert len({fingerprint(with_card(card, pad)) for card in CARDS}) == len(CARDS)
    codes = {fingerprint({"transaction_id": "t-1", "card": {"cvv": f"{code:03}"}, "pad": pad}) for code in range(20)}
    assert len(codes) == 20


def test_another_amount_beside_an_order_number_is_another_payload() -> None:
    """Thirteen digits that pass Luhn are no card to validation, so both payloads can be approved."""
    one, other = (with_card("order 1234567890128", amount=amount) for amount in ("10.00", "99.00"))
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(turned(one)) == fingerprint(one)


def test_more_text_than_is_looked_at_needs_a_key() -> None:
    payload = {"transaction_id": "t-1", "pad": "x" * PARKED_MAX_CHARACTERS, "note": CARDS[0]}
    assert fingerprint(payload) not in (fingerprint(payload, ANOTHER_KEY), digest(payload))


@pytest.mark.parametrize(
    "secret", [{}, {"SecretString": ""}, {"SecretString": KEY[1:]}, {"SecretString": 7}, {"SecretBinary": KEY}]
)
def test_there_is_no_seal_without_a_whole_key(secret: dict[str, Any]) -> None:
    with pytest.raises(jsonata.JException, match="no fingerprint key"):
        seal(with_card(CARDS[0]), secret)


def test_what_is_no_card_data_is_compared_by_every_digit() -> None:
    assert fingerprint({"amount": "10.00", "note": "123456789012"}) != fingerprint(
        {"amount": "10.01", "note": "123456789012"}
    )


def test_what_is_no_card_data_needs_no_key() -> None:
    plain = {"transaction_id": "t-1", "amount": "10.00", "note": "123456789012"}
    assert fingerprint(plain) == fingerprint(plain, ANOTHER_KEY) == digest(plain)
