"""What the table says of a recorded transaction: its answer, and the history that its judges were given.

The history is read as it was: only what had been decided when the transaction was received. The index has no times of
decisions, so they are read from the records. What was decided while the transaction was judged may have been seen or
not, and so may what an eventually consistent index did not show yet: ``Known.seen`` chooses how many of these entries a
history has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pipeline.core.documents import parse_json
from pipeline.core.errors import StackError
from pipeline.rehearsal.recordings import Stored, moment_of
from pipeline.transactions.transaction_records import BATCH_MAX

# How long after a decision its record may be missing in the index.
LAG = timedelta(seconds=1)
_ATTEMPTS = 8
# Times of decisions that are kept in memory.
_KEPT = 200_000

Item = Mapping[str, Mapping[str, Any]]


@dataclass(slots=True)
class Known:
    """What was known of a customer when one transaction was judged.

    received  when it was received; until: when it was decided
    between   entries that may have been seen or not; likely: those decided in the first half of the time that the
              transaction took, since its history was read after it was validated. Set by the reading
    seen      how many of ``between`` are in the history, the earliest decided first; None: the likely ones
    """

    transaction_id: str
    received: datetime
    until: datetime
    seen: int | None = None
    between: int = 0
    likely: int = 0

    @classmethod
    def of(cls, transaction_id: str, stored: Stored) -> Known:
        """Raises ValueError if a time of the record cannot be read."""
        received, decided = moment_of(stored.received_at), moment_of(stored.decided_at)
        return cls(transaction_id, min(received, decided), max(received, decided))

    def others(self) -> Iterator[int]:
        """The other values of ``seen`` that are possible, the likeliest first."""
        return iter(sorted(set(range(self.between + 1)) - {self.likely}, key=lambda seen: abs(seen - self.likely)))


@dataclass
class Table:
    """Reads the state table; ``client`` is DynamoDB's, with permissions to read only."""

    client: Any
    name: str
    _decided: dict[str, str] = field(default_factory=dict)

    def answers(self, transaction_ids: Sequence[str]) -> dict[str, Stored | None]:
        """The answers by id; None for a transaction that is recorded and not decided. Others are absent."""
        wanted = ("transaction_id", "status", "answer", "received_at", "decided_at", "fingerprint")
        return {item["transaction_id"]["S"]: _stored(item) for item in self._items(transaction_ids, wanted)}

    def history(self, arguments: Mapping[str, Any], known: Known) -> dict[str, Any]:
        """The result of the workflow's Query, with ``arguments`` of its state, as it was at the time of ``known``."""
        limit = int(arguments["Limit"])
        query = {name: value for name, value in arguments.items() if name not in ("Limit", "TableName")}
        pages = self.client.get_paginator("query").paginate(TableName=self.name, **query)
        items: list[Item] = [item for page in pages for item in page["Items"]]
        decided = self._decisions([item["transaction_id"]["S"] for item in items])
        visible, between = set[str](), list[tuple[datetime, str]]()
        for identifier, at in decided.items():
            if identifier != known.transaction_id and at <= known.until:
                if at < known.received - LAG:
                    visible.add(identifier)
                else:
                    between.append((at, identifier))
        middle = known.received + (known.until - known.received) / 2
        known.between, known.likely = len(between), sum(at < middle for at, _identifier in between)
        seen = known.likely if known.seen is None else known.seen
        visible |= {identifier for _at, identifier in sorted(between)[:seen]}
        return {"Items": [item for item in items if item["transaction_id"]["S"] in visible][:limit]}

    def _decisions(self, transaction_ids: Sequence[str]) -> dict[str, datetime]:
        """When each was decided; without those that are not transactions, or not decided."""
        # Other threads add to the memory, and replace it.
        known = {each: at for each in transaction_ids if (at := self._decided.get(each)) is not None}
        missing = [each for each in transaction_ids if each not in known]
        found = {
            item["transaction_id"]["S"]: item.get("decided_at", {}).get("S", "")
            for item in self._items(missing, ("transaction_id", "decided_at"))
        }
        if len(self._decided) > _KEPT:
            self._decided = {}
        self._decided.update(found)
        return {each: moment_of(text) for each, text in {**known, **found}.items() if text}

    def _items(self, transaction_ids: Sequence[str], attributes: Sequence[str]) -> Iterator[Item]:
        names = {f"#a{number}": name for number, name in enumerate(attributes)}
        once = list(dict.fromkeys(transaction_ids))
        for first in range(0, len(once), BATCH_MAX):
            keys = [{"transaction_id": {"S": key}} for key in once[first : first + BATCH_MAX]]
            for attempt in range(_ATTEMPTS):
                time.sleep(0.05 * (2**attempt - 1))
                request = {"Keys": keys, "ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}
                answer = self.client.batch_get_item(RequestItems={self.name: request})
                yield from answer["Responses"].get(self.name, [])
                # Under load some keys stay unanswered (API_BatchGetItem, UnprocessedKeys).
                keys = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
                if not keys:
                    break
            else:
                raise StackError(
                    "the release was not rehearsed",
                    f"the table {self.name} left {len(keys)} keys unanswered {_ATTEMPTS} times",
                    "It is throttled. Run it again later, or with fewer --workers.",
                )


def _stored(item: Item) -> Stored | None:
    """The answer of a record; None without one that can be read."""
    if item.get("status", {}).get("S") != "DECIDED":
        return None
    try:
        answer = parse_json(item["answer"]["S"])
        if not isinstance(answer, dict):
            return None
        return Stored(
            answer, item["received_at"]["S"], item["decided_at"]["S"], item.get("fingerprint", {}).get("S", "")
        )
    except (KeyError, ValueError):
        return None
