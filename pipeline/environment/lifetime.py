"""How long an environment is kept after its last change: the setting ``expires_after``, and the tag that has it."""

from __future__ import annotations

from datetime import timedelta

from pipeline.core.spans import parse_duration

# Of both stacks.
EXPIRES_AFTER = "transaction-pipeline:expires-after"
LONGEST = timedelta(days=366)


def parse_lifetime(text: str) -> timedelta:
    """``parse_lifetime("1d")``: 1 s to 366 days. Raises ValueError."""
    lifetime = parse_duration(text)
    if not timedelta(seconds=1) <= lifetime <= LONGEST:
        raise ValueError(f"an environment expires after 1s to {LONGEST.days}d, saw: {text!r}")
    return lifetime
