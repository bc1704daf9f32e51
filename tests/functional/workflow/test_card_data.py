"""No card data at rest: not in the table, the queue, the topic or a log, however early a submission fails."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest

from pipeline.transactions.submit import Answer
from pipeline.transactions.submit import Parked as ParkedError
from tests.functional.workflow_lab import Lab, running_lab

SCHEMES = {"4": 16, "51": 16, "2720": 16, "37": 15, "30": 14, "6011": 16, "35": 16, "9": 16}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("cards")) as running:
        running.deploy()
        yield running


def card_number(chance: random.Random) -> str:
    """A number with a right check digit."""
    scheme, length = chance.choice(list(SCHEMES.items()))
    body = scheme + "".join(chance.choice("0123456789") for _ in range(length - len(scheme) - 1))
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(reversed(body))]
    return body + str(-sum(each - 9 if each > 9 else each for each in doubled) % 10)


def grouped(number: str, separator: str) -> str:
    return separator.join(number[start : start + 4] for start in range(0, len(number), 4))


def inputs(chance: random.Random) -> Iterator[tuple[dict[str, Any], str]]:
    """(a submission with card data, the digits that must be nowhere)."""
    numbers = count(1)

    def plain() -> dict[str, Any]:
        return {
            "transaction_id": f"t-{next(numbers)}", "amount": "1", "currency": "USD", "merchant_id": "m",
            "customer_id": "c",
        }  # fmt: skip

    while True:
        card, cvv = card_number(chance), f"{chance.randrange(10**3):03}-cvv"
        spelling = chance.choice([card, grouped(card, " "), grouped(card, "-"), grouped(card, ".")])
        yield plain() | {"transaction_id": spelling.replace(" ", "-")}, card
        yield plain() | {"customer_id": spelling}, card
        yield plain() | {"note": f"card {spelling}"}, card
        yield plain() | {"note": card.translate(str.maketrans("0123456789", "０１２３４５６７８９"))}, card
        yield plain() | {"payment": {"details": [{chance.choice(["cvv", "CVC-2", "Card Number"]): cvv}]}}, cvv
        yield plain() | {"note": int(card)}, card


def digits(text: str) -> str:
    """The text with its rows of digits in one piece."""
    folded = text.translate(str.maketrans("０１２３４５６７８９", "0123456789"))
    return folded.replace(" ", "").replace("-", "").replace(".", "")


def written(lab: Lab) -> dict[str, str]:
    """Everything at rest, by where."""
    table = lab.client("dynamodb").scan(TableName=lab.names.table)["Items"]
    index = lab.client("dynamodb").scan(TableName=lab.names.table, IndexName="customer")["Items"]
    return {
        "table": json.dumps(table, ensure_ascii=False),
        "index": json.dumps(index, ensure_ascii=False),
        "queue": json.dumps(lab.parked(), ensure_ascii=False),
        "log": (lab.folder / "emulator.log").read_text(errors="replace"),
    }


@pytest.mark.parametrize("queue", ["up", "down"])
def test_nothing_at_rest_holds_card_data(lab: Lab, queue: str) -> None:
    lab.clear()
    always: dict[str, Any] = {"times": 10_000}
    faults = [lab.fault("Validate", **always)]
    if queue == "down":
        faults.append(lab.fault("Park", **always))
    lab.faults(*faults)
    made = inputs(random.Random(7))
    sent = [next(made) for _ in range(100)]

    def submit(one: tuple[dict[str, Any], str]) -> str:
        try:
            return lab.submit(one[0]).outcome
        except ParkedError as parked:
            return parked.state

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(submit, sent))
    assert set(outcomes) == {"Validate"}
    found = {where: digits(text) for where, text in written(lab).items()}
    assert [(where, secret) for _, secret in sent for where, text in found.items() if digits(secret) in text] == []
    parked = lab.parked_in_table() if queue == "down" else lab.parked()
    assert len(parked) == len(sent)
    assert {message["withheld"] for message in parked} == {"card data"}
    assert not any("input" in message or "excerpt" in message for message in parked)


def test_an_input_without_card_data_is_parked_whole(lab: Lab) -> None:
    lab.clear()
    lab.faults(lab.fault("Validate"))
    plain = {"transaction_id": "t", "amount": "1", "note": "2026-11-30T12:00:00.000Z 123456789012"}
    with pytest.raises(ParkedError):
        lab.submit(plain)
    assert [message["input"] for message in lab.parked()] == [plain]


def test_a_valid_transaction_is_parked_whole_though_its_digits_look_like_a_card(lab: Lab) -> None:
    lab.clear()
    lab.faults(lab.fault("Compliance"))
    valid = {
        "transaction_id": "t", "amount": "1", "currency": "USD", "merchant_id": "m", "customer_id": "c",
        "note": "4111111111111111",
    }  # fmt: skip
    with pytest.raises(ParkedError):
        lab.submit(valid)
    assert [message["input"] for message in lab.parked()] == [valid]


PAYMENT = {"transaction_id": "t", "amount": "10.00", "currency": "USD", "note": "order 1234567890128"}


def test_another_amount_beside_an_order_number_is_a_conflict(lab: Lab) -> None:
    """Thirteen digits that pass Luhn look like a card, and are none to validation."""
    lab.clear()
    assert lab.submit(PAYMENT).outcome == "APPROVED"
    repeat = lab.submit(dict(reversed(PAYMENT.items())))
    assert (repeat.outcome, repeat.repeat) == ("APPROVED", True)
    assert lab.submit(PAYMENT | {"amount": "99.00"}).outcome == "CONFLICT"
    assert lab.submit(PAYMENT | {"note": "order 1234567890136"}).outcome == "CONFLICT"


def test_the_key_of_fingerprints_is_asked_for_where_it_is_needed_and_is_nowhere_at_rest(lab: Lab) -> None:
    lab.clear()
    lab.submit(PAYMENT)
    lab.submit({"transaction_id": "plain", "amount": "1", "currency": "USD"})
    asked = [each["action"] for each in lab.trace() if each["state"] == "Seal"]
    assert asked == ["secretsmanager:GetSecretValue"]
    [secret] = lab.client("secretsmanager").list_secrets()["SecretList"]
    key = lab.client("secretsmanager").get_secret_value(SecretId=secret["ARN"])["SecretString"]
    assert [where for where, text in written(lab).items() if json.dumps(key)[1:-1] in text or key in text] == []


def test_a_submission_is_parked_without_its_input_while_the_key_is_unavailable(lab: Lab) -> None:
    lab.clear()
    lab.faults(lab.fault("Seal", error="SecretsManager.InternalServiceErrorException", times=4))
    with pytest.raises(ParkedError):
        lab.submit(PAYMENT)
    [message] = lab.parked()
    assert (message["state"], message["withheld"], message["transaction_id"]) == ("Seal", "card data", "t")
    assert lab.record("t") is None
    assert lab.submit(PAYMENT).outcome == "APPROVED"


@pytest.mark.parametrize(
    "value", [[{"transaction_id": "t"}], [[{"transaction_id": "t"}]], [{"transaction_id": "t"}] * 2]
)
def test_an_array_of_transactions_is_no_transaction(lab: Lab, value: Any) -> None:
    lab.clear()
    answer = lab.submit(value)
    assert isinstance(answer, Answer)
    assert (answer.outcome, answer.transaction_id, answer.reasons[0]["rule"]) == ("REJECTED", None, "not_an_object")
    assert lab.record("t") is None
    large = [{"transaction_id": "t", "note": "x" * 9000}]
    assert lab.submit(large).outcome == "REJECTED"
    assert lab.record("t") is None
    assert lab.submit({"transaction_id": "t", "amount": "1", "currency": "USD"}).outcome == "APPROVED"
