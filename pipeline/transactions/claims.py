"""Read whether a transaction is decided, or claimed by an execution."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Claim:
    """The state of a transaction in the table.

    decided  whether its answer is recorded
    until    when the lease of an execution that has claimed it ends; None if there is no lease or it has ended
    """

    decided: bool = False
    until: datetime | None = None


def read_claim(dynamodb: Any, table: str, transaction_id: str) -> Claim:
    """Read the record of a transaction; one without a record is neither decided nor claimed."""
    item = dynamodb.get_item(
        TableName=table,
        Key={"transaction_id": {"S": transaction_id}},
        ConsistentRead=True,
        ProjectionExpression="#status, lease_until",
        ExpressionAttributeNames={"#status": "status"},
    ).get("Item", {})
    if item.get("status", {}).get("S") != "CLAIMED":
        return Claim(decided=bool(item))
    milliseconds = float(item.get("lease_until", {}).get("N", 0))
    return Claim(until=datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds > time.time() * 1000 else None)
