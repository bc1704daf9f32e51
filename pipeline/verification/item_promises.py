"""What one write may make of an item of the state table. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipeline.verification.claimed_items import (
    ANSWER,
    CLAIMED,
    CUSTOMER,
    DECIDED,
    FINGERPRINT,
    LEASE,
    REJECTED,
    SHARD,
    SHARDS,
    STATUS,
    TOKEN,
    holds,
    is_found,
    text_of,
)
from pipeline.verification.language.durations import EXPRESS_SECONDS
from pipeline.verification.model.world import Violation


def judge_write(place: str, old: Any, new: Any, now: int, writer: str) -> Iterator[Violation]:
    """What is wrong with a write that turned the item ``old`` into ``new``, which differ.

    old, new  typed attributes by name; None where there is no item
    now       milliseconds
    writer    the ARN of the execution that wrote; "" for a sweep or a redrive
    """
    status = text_of(old, STATUS), text_of(new, STATUS)
    if status[0] == DECIDED and any(
        (old or {}).get(name) != (new or {}).get(name) for name in (STATUS, ANSWER, FINGERPRINT)
    ):
        gone = "is deleted" if new is None else f"becomes {text_of(new, ANSWER) or text_of(new, STATUS)}"
        yield Violation("a decision is never overwritten", f"{text_of(old, ANSWER)} {gone}")
        return
    if new is None:
        return
    if old is not None and old.get(FINGERPRINT) != new.get(FINGERPRINT):
        yield Violation("the first claim fixes the payload", f"the fingerprint of {place} changes")
    if text_of(new, CUSTOMER) and json.loads(text_of(new, ANSWER) or "{}").get("outcome") in (None, REJECTED):
        yield Violation("only a valid transaction counts for its customer", f"{place} counts while {status[1]}")
    if status[1] == DECIDED:
        yield from _decided(old, new, writer)
    elif status[1] == CLAIMED:
        yield from _claimed(old, new, now, writer)
    else:
        yield Violation("an item is claimed or decided", f"its status is {status[1]!r}")
    if text_of(new, SHARD) and not (status[1] == CLAIMED and float(new.get(LEASE, {}).get("N", "0")) > 0):
        yield Violation("a sweep finds running claims only", f"{place} is in the index of leases")


def _decided(old: Any, new: Any, writer: str) -> Iterator[Violation]:
    if text_of(old, STATUS) == CLAIMED and writer and not holds(writer, old):
        yield Violation(
            "only the holder of the claim decides", f"{writer} decides under the claim of {text_of(old, TOKEN)}"
        )
    try:
        answer = json.loads(text_of(new, ANSWER))
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("outcome"), str):
        yield Violation("a decision can be read again", f"the record's answer is {text_of(new, ANSWER)!r}")


def _claimed(old: Any, new: Any, now: int, writer: str) -> Iterator[Violation]:
    lease = new.get(LEASE, {}).get("N")
    if lease is None or not text_of(new, TOKEN) or not text_of(new, FINGERPRINT):
        yield Violation("a claim can be found again", f"it has no lease, token or fingerprint: {sorted(new)}")
    elif float(lease) > 0 and not is_found(new, float(lease)):
        yield Violation("a lost claim is found", f"redrive --lost does not see it: {sorted(new)}")
    elif float(lease) > 0 and text_of(new, SHARD) not in SHARDS:
        yield Violation("a lost claim is found", f"no sweep looks for it in the shard {text_of(new, SHARD)!r}")
    elif writer and text_of(old, TOKEN) != text_of(new, TOKEN) and float(lease) < now + EXPRESS_SECONDS * 1000:
        yield Violation("a lease outlives its execution", f"it ends {(float(lease) - now) / 1000:g} s after the claim")
    if text_of(old, STATUS) != CLAIMED:
        return
    ends = float((old or {}).get(LEASE, {}).get("N", "0"))
    if text_of(old, TOKEN) == text_of(new, TOKEN):
        if writer and lease is not None and float(lease) < ends and not holds(writer, old):
            yield Violation("only the holder gives a claim back", f"{writer} ends the lease of {text_of(old, TOKEN)}")
    elif ends >= now + 10:
        yield Violation("a claim is taken over only after its lease", f"{(ends - now) / 1000:g} s before its end")
