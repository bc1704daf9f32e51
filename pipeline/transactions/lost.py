"""Claims of executions that ended without an answer and without parking their submission: find and park them.

An execution that dies leaves a claim whose lease runs out. Its caller submits again; where that is gone too, only the
table knows. The input is not in it, since it may hold card data before it is validated, so what is parked is a note
that names the transaction: only its sender can submit it again.

Parking is three requests, each of which may be the last: the claim is taken, so that a late execution cannot decide
under it; the note is written, under the name of the lost execution, so that a second one replaces it; the claim is
given back. A claim that was taken and not given back is found again after its new lease.

``cfn/workflow/lost-claims.asl.json`` does the same in the cloud; a test compares their requests.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from cfn.workflow.limits import GRACE_SECONDS, LEASE_SECONDS, PARKED_CUSTOMER, PARKED_PREFIX
from pipeline.core.events import Report, ignore, step

# Segments of the table that are read at once. A terabyte takes minutes, and 16 USD.
SEGMENTS = 8
FILTER = "#status = :claimed AND lease_until > :zero AND lease_until < :before"
STATUS = {"#status": "status"}
Item = Mapping[str, Any]


def filter_values(now: int) -> dict[str, Any]:
    """The values of ``FILTER`` at a time (epoch milliseconds)."""
    return {
        ":claimed": {"S": "CLAIMED"},
        ":zero": {"N": "0"},
        ":before": {"N": str(now - GRACE_SECONDS * 1000)},
    }


def take(table: str, item: Item, token: str, now: int) -> dict[str, Any]:
    """UpdateItem: the claim as it was seen becomes that of ``token``, for as long as an execution's."""
    return _of_claim(
        table,
        item,
        condition="claim_token = :seen AND lease_until = :lease",
        update="SET claim_token = :token, lease_until = :until",
        values={
            ":seen": item["claim_token"],
            ":lease": item["lease_until"],
            ":token": {"S": token},
            ":until": {"N": str(now + LEASE_SECONDS * 1000)},
        },
    )


def note(table: str, item: Item, now: int) -> dict[str, Any]:
    """PutItem: the parked message, where ``ParkedTable`` finds it."""
    execution, at = item["execution"]["S"], _iso(now)
    message = {
        "state": "Lost",
        "error": "ExecutionLost",
        "cause": f"the execution ended without an answer; its claim was of {item['received_at']['S']}",
        "execution": execution,
        "parked_at": at,
        "withheld": "not stored",
        "transaction_id": item["transaction_id"]["S"],
    }
    return {
        "TableName": table,
        "Item": {
            "transaction_id": {"S": f"{PARKED_PREFIX}{execution}"},
            "customer_id": {"S": PARKED_CUSTOMER},
            "occurred_at": {"S": at},
            "message": {"S": json.dumps(message)},
        },
    }


def give_back(table: str, item: Item, token: str, now: int) -> dict[str, Any]:
    """UpdateItem: the lease is over, so that the next submission takes the claim at once."""
    return _of_claim(
        table,
        item,
        condition="claim_token = :token",
        update="SET lease_until = :zero, parked_at = :at, parked_error = :error REMOVE lease_shard",
        values={
            ":token": {"S": token},
            ":zero": {"N": "0"},
            ":at": {"S": _iso(now)},
            ":error": {"S": "Lost: ExecutionLost"},
        },
    )


def _of_claim(table: str, item: Item, *, condition: str, update: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """UpdateItem of a record that is still a claim."""
    return {
        "TableName": table,
        "Key": {"transaction_id": item["transaction_id"]},
        "ConditionExpression": f"#status = :claimed AND {condition}",
        "UpdateExpression": update,
        "ExpressionAttributeNames": STATUS,
        "ExpressionAttributeValues": {":claimed": {"S": "CLAIMED"}, **values},
    }


def find_lost(dynamodb: Any, table: str, now: int) -> Iterator[Item]:
    """The claims whose lease is over, read from the whole table."""

    def read(segment: int) -> list[Item]:
        pages = dynamodb.get_paginator("scan").paginate(
            TableName=table,
            FilterExpression=FILTER,
            ProjectionExpression="transaction_id, claim_token, lease_until, execution, received_at",
            ExpressionAttributeNames=STATUS,
            ExpressionAttributeValues=filter_values(now),
            Segment=segment,
            TotalSegments=SEGMENTS,
        )
        return [item for page in pages for item in page["Items"]]

    with ThreadPoolExecutor(SEGMENTS) as pool:
        for found in pool.map(read, range(SEGMENTS)):
            yield from found


def park_lost(dynamodb: Any, table: str, *, dry_run: bool = False, report: Report = ignore) -> list[str]:
    """Park a note for every lost claim; the ids of their transactions, sorted.

    dry_run  only find them

    Raises ClientError and BotoCoreError. What was parked stays, and the rest is found by the next run.
    """
    parked = []
    with step(report, "search", table):
        lost = list(find_lost(dynamodb, table, _now()))
    for item in lost:
        if dry_run or _park(dynamodb, table, item):
            parked.append(str(item["transaction_id"]["S"]))
    return sorted(parked)


def _park(dynamodb: Any, table: str, item: Item) -> bool:
    """False if the claim is no longer as it was seen: another submission has taken it."""
    token = f"redrive@{uuid.uuid4()}"
    try:
        dynamodb.update_item(**take(table, item, token, _now()))
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    dynamodb.put_item(**note(table, item, _now()))
    try:
        dynamodb.update_item(**give_back(table, item, token, _now()))
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    return True


def _now() -> int:
    return int(time.time() * 1000)


def _iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
