"""Read records of transactions from the state table, by key or by customer; never a scan."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from cfn.workflow.limits import DETAILS_PREFIX, PARKED_PREFIX

# Keys of one BatchGetItem (API_BatchGetItem).
BATCH_MAX = 100
_ATTEMPTS = 5
# A record's attributes as plain values; numbers are text, as DynamoDB sends them.
Record = Mapping[str, Any]


def read_record(dynamodb: Any, table: str, key: str) -> Record | None:
    """The record under ``key``, read consistently; None if there is none."""
    item = dynamodb.get_item(TableName=table, Key={"transaction_id": {"S": key}}, ConsistentRead=True).get("Item")
    return _plain(item) if item else None


def read_records(dynamodb: Any, table: str, keys: Sequence[str]) -> tuple[Record, ...]:
    """The records of transactions, newest first; keys without a record are left out.

    DynamoDB may leave some keys unanswered under load (API_BatchGetItem, UnprocessedKeys); those that still are after
    a few attempts are left out too.
    """
    found: list[Record] = []
    once = list(dict.fromkeys(keys))
    for first in range(0, len(once), BATCH_MAX):
        wanted = [{"transaction_id": {"S": key}} for key in once[first : first + BATCH_MAX]]
        for attempt in range(_ATTEMPTS):
            if not wanted:
                break
            time.sleep(0.05 * (2**attempt - 1))
            answer = dynamodb.batch_get_item(RequestItems={table: {"Keys": wanted}})
            found += [_plain(item) for item in answer["Responses"].get(table, [])]
            wanted = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
    return tuple(sorted(found, key=lambda record: str(record.get("received_at", "")), reverse=True))


def find_by_customer(dynamodb: Any, table: str, customer: str, limit: int) -> tuple[Record, ...]:
    """The newest ``limit`` transactions of a customer, newest first, through the index ``customer``."""
    items = dynamodb.query(
        TableName=table,
        IndexName="customer",
        KeyConditionExpression="customer_id = :customer",
        ExpressionAttributeValues={":customer": {"S": customer}},
        ScanIndexForward=False,
        Limit=limit,
    )["Items"]
    keys = [str(item["transaction_id"]["S"]) for item in items]
    # A customer id may equal the partition key of parked records.
    return read_records(dynamodb, table, [key for key in keys if not key.startswith((PARKED_PREFIX, DETAILS_PREFIX))])


def _plain(item: Mapping[str, Mapping[str, Any]]) -> Record:
    return {name: next(iter(value.values())) for name, value in item.items()}
