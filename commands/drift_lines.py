"""What was changed outside of the stacks, as lines and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.release.planning import Drift


def drift_document(drift: Drift) -> dict[str, Any]:
    """Each resource, and how each stack was compared: "change set", "detection", or null for functions only."""
    return {
        "resources": [each.to_json() for each in drift.all],
        "compared": {name: found.by or None for name, found in drift.stacks.items()},
    }


def drift_lines(drift: Drift) -> Iterator[str]:
    for each in drift.all:
        yield f"changed outside of the stack: {each.text}"
    for change in (one for found in drift.stacks.values() for one in found.changes if one.destructive):
        yield f"putting {change.logical_id} back replaces or deletes it with its data; `up --revert-drift` asks first"
    for name, found in drift.stacks.items():
        if not found.by:
            yield f"{name}: CloudFormation did not compare its resources; only functions were compared"
        elif found.by == "detection" and found.drifted:
            yield f"{name}: CloudFormation has no drift-aware change sets here; only functions are put back"
    if drift.stacks and not drift.all:
        yield "no change outside of the stacks was found"
