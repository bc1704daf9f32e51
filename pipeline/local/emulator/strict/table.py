"""All refusals, and the first that applies to a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.local.emulator.strict.function_refusals import FUNCTION_REFUSALS
from pipeline.local.emulator.strict.image_refusals import IMAGE_REFUSALS
from pipeline.local.emulator.strict.name_refusals import NAME_REFUSALS
from pipeline.local.emulator.strict.refusal import Refusal
from pipeline.local.emulator.strict.stack_refusals import STACK_REFUSALS

REFUSALS: tuple[Refusal, ...] = (*IMAGE_REFUSALS, *FUNCTION_REFUSALS, *STACK_REFUSALS, *NAME_REFUSALS)


def first_refusal(service: str, call: str, parameters: Mapping[str, Any]) -> tuple[Refusal, str] | None:
    """The first row that applies to a call, with its filled text."""
    for row in REFUSALS:
        if row.service == service and row.call in (call, "*"):
            message = row.message(parameters)
            if message is not None:
                return row, message
    return None
