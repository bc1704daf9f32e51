"""Fraud detection against the embedded AWS's DynamoDB: the velocity of a customer, asked of the real index."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from aws_lambda_powertools.metrics.provider import cold_start

from tests.functional.conftest import EmbeddedAws
from tests.unit.images.loading import context, event, load_handler

TABLE = "customer-history-test"
RECEIVED = datetime.fromisoformat(event("canonical-sample")["received_at"])


@pytest.fixture(scope="module")
def table(embedded_aws: EmbeddedAws) -> Iterator[str]:
    """A table with the keys and the index of the state table."""
    client = embedded_aws.client("dynamodb")
    client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("transaction_id", "customer_id", "received_at")
        ],
        KeySchema=[{"AttributeName": "transaction_id", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "customer",
                "KeySchema": [
                    {"AttributeName": "customer_id", "KeyType": "HASH"},
                    {"AttributeName": "received_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    yield TABLE
    client.delete_table(TableName=TABLE)


@pytest.fixture
def fraud(embedded_aws: EmbeddedAws, table: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("TABLE_NAME", table)
    monkeypatch.setenv("AWS_ENDPOINT_URL", embedded_aws.endpoint)
    monkeypatch.delenv("AWS_ENDPOINT_URL_DYNAMODB", raising=False)
    monkeypatch.setenv("AWS_REGION", embedded_aws.region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", embedded_aws.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", embedded_aws.secret_access_key)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.setattr(cold_start, "is_cold_start", False)
    module = load_handler("fraud-detection")
    yield module
    module.HISTORY._client.close()


@pytest.fixture
def customer(request: pytest.FixtureRequest) -> str:
    """A customer of the test's own, so that no test sees the history of another."""
    # Eight digits: some rows of thirteen and more pass for a card's.
    return f"customer-{zlib.crc32(request.node.name.encode()):08x}"


def claim(aws: EmbeddedAws, customer: str, *received: datetime, prefix: str = "earlier") -> None:
    """Write what the state machine's claim writes of a transaction."""
    client = aws.client("dynamodb")
    for number, instant in enumerate(received):
        client.put_item(
            TableName=TABLE,
            Item={
                "transaction_id": {"S": f"{prefix}-{customer}-{number}"},
                "customer_id": {"S": customer},
                "received_at": {"S": instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")},
                "status": {"S": "CLAIMED"},
            },
        )


def judge(fraud: ModuleType, customer: str, **changes: Any) -> tuple[int, list[str]]:
    document = event("canonical-sample")
    document["transaction"] |= {"customer_id": customer, **changes}
    result = fraud.handle(document, context("fraud-detection"))
    return result["score"], [reason["rule"] for reason in result["reasons"]]


def ago(**age: float) -> datetime:
    return RECEIVED - timedelta(**age)


def test_a_customer_without_a_history_has_no_score(fraud: ModuleType, customer: str) -> None:
    assert judge(fraud, customer) == (0, [])


def test_the_fifth_other_transaction_within_a_minute_counts(
    fraud: ModuleType, embedded_aws: EmbeddedAws, customer: str
) -> None:
    claim(embedded_aws, customer, *(ago(seconds=10 * number) for number in range(4)))
    assert judge(fraud, customer) == (0, [])
    claim(embedded_aws, customer, ago(milliseconds=59_999), prefix="fifth")
    assert judge(fraud, customer) == (30, ["velocity_minute"])


def test_a_transaction_exactly_a_minute_old_is_out_of_the_window(
    fraud: ModuleType, embedded_aws: EmbeddedAws, customer: str
) -> None:
    claim(embedded_aws, customer, *(ago(seconds=1) for _ in range(4)), ago(seconds=60))
    assert judge(fraud, customer) == (0, [])


def test_the_claim_of_the_transaction_itself_does_not_count(
    fraud: ModuleType, embedded_aws: EmbeddedAws, customer: str
) -> None:
    claim(embedded_aws, customer, *(ago(seconds=1) for _ in range(4)))
    claim(embedded_aws, customer, RECEIVED, prefix="own")
    assert judge(fraud, customer, transaction_id=f"own-{customer}-0") == (0, [])
    assert judge(fraud, customer, transaction_id="another") == (30, ["velocity_minute"])


def test_later_transactions_and_those_of_other_customers_do_not_count(
    fraud: ModuleType, embedded_aws: EmbeddedAws, customer: str
) -> None:
    claim(embedded_aws, customer, *(RECEIVED + timedelta(milliseconds=1 + number) for number in range(9)))
    claim(embedded_aws, f"{customer[:60]}-x", *(ago(seconds=1) for _ in range(9)))
    assert judge(fraud, customer) == (0, [])


def test_a_long_history_meets_every_window_in_one_query(
    fraud: ModuleType, embedded_aws: EmbeddedAws, customer: str
) -> None:
    claim(embedded_aws, customer, *(ago(seconds=number) for number in range(60)))
    assert judge(fraud, customer) == (65, ["velocity_minute", "velocity_10_minutes", "velocity_hour"])


def test_a_table_that_is_not_there_is_an_error_and_not_a_clean_history(
    fraud: ModuleType, embedded_aws: EmbeddedAws, customer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TABLE_NAME", "no-such-table")
    other = load_handler("fraud-detection")
    with pytest.raises(Exception, match="DynamoDB answered 400 ResourceNotFoundException") as error:
        judge(other, customer)
    other.HISTORY._client.close()
    assert type(error.value).__name__ == "DynamoDBError"


def test_a_role_without_permission_is_refused(
    fraud: ModuleType, embedded_aws: EmbeddedAws, customer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam = embedded_aws.client("iam")
    iam.create_user(UserName="nobody")
    key = iam.create_access_key(UserName="nobody")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    with pytest.raises(Exception, match=r"DynamoDB answered 4\d\d AccessDenied"):
        judge(fraud, customer)


def test_queries_share_one_connection_and_survive_its_loss(fraud: ModuleType, customer: str) -> None:
    judge(fraud, customer)
    connection = fraud.HISTORY._client._connection
    socket = connection.sock
    judge(fraud, customer)
    assert connection.sock is socket
    socket.close()
    started = time.monotonic()
    assert judge(fraud, customer) == (0, [])
    assert time.monotonic() - started < 5
