"""Delete a stack and keep some of its resources."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pipeline.core.events import Note, Report, ignore
from pipeline.stacks.apply import apply_stack
from pipeline.stacks.changeset import Upload
from pipeline.stacks.deletion import delete_stack
from pipeline.stacks.existing import with_retained
from pipeline.stacks.follow import Deadline
from pipeline.stacks.plan import WantedStack, plan_stack
from pipeline.stacks.state import StackState


def delete_keeping(
    cfn: Any,
    name: str,
    retain: Collection[str],
    report: Report = ignore,
    *,
    timeout: float = 3600.0,
    upload: Upload | None = None,
) -> bool:
    """``delete_stack``, but keep the resources with the logical ids ``retain``.

    Updates the stack with ``DeletionPolicy: Retain`` first, because at deletion CloudFormation retains only resources
    whose deletion failed before (API_DeleteStack). ``upload`` is as for ``apply_stack``.
    """

    def keep(state: StackState, deadline: Deadline) -> None:
        body = with_retained(state.template, retain)
        if body == state.template:
            return
        report(Note(f"{state.name} keeps {', '.join(sorted(retain))}"))
        wanted = WantedStack(state.name, body, state.parameters, tags=state.tags)
        apply_stack(cfn, plan_stack(state, wanted), report, timeout=max(1.0, deadline.left), upload=upload)

    return delete_stack(cfn, name, report, retain=retain, prepare=keep if retain else None, timeout=timeout)
