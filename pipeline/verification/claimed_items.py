"""The records that the promises are about: attributes of a transaction's item, and what they say of its claim."""

from __future__ import annotations

import re
from typing import Any

from cfn.workflow.limits import GRACE_SECONDS, LEASE_SHARDS
from pipeline.transactions import lost
from pipeline.verification.table.conditions import Names, condition

TABLE = "${Table}"
KEY, CONFLICT = "transaction_id", "CONFLICT"
STATUS, DECIDED, CLAIMED = "status", "DECIDED", "CLAIMED"
TOKEN, LEASE, FINGERPRINT, ANSWER, EXPIRY = "claim_token", "lease_until", "fingerprint", "answer", "expires_at"
SHARD = "lease_shard"
CUSTOMER, REJECTED = "customer_id", "REJECTED"
OBSERVED = frozenset({STATUS, TOKEN, LEASE, FINGERPRINT, ANSWER, EXPIRY, CUSTOMER, SHARD, "received_at"})
SHARDS = frozenset(map(str, range(LEASE_SHARDS)))
PARKED, ALERT = "parked#", "alert"


def usable_id(payload: Any) -> bool:
    """Whether a payload has an id under which a decision can be recorded. A card number is none."""
    given = payload.get(KEY) if isinstance(payload, dict) else None
    if not isinstance(given, str) or not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", given):
        return False
    return not re.search(r"\d(?:[.-]?\d){12}", given)


def is_found(item: Any, lease: float) -> bool:
    """Whether ``redrive --lost`` finds a claim once its lease is over, whoever held it."""
    later = int(lease) + GRACE_SECONDS * 1000 + 1
    return condition(lost.FILTER, Names(lost.STATUS, lost.filter_values(later)))(item)


def holds(execution: str, item: Any) -> bool:
    """Whether an item's token is that of an execution, which a token names by the UUID of its ARN."""
    return text_of(item, TOKEN).startswith(f"{execution.rpartition(':')[2]}@")


def text_of(item: Any, name: str) -> str:
    """The text of a typed attribute; "" where there is none."""
    if not item or name not in item:
        return ""
    return str(item[name].get("S", ""))
