"""What the settings of an environment change in the functions of its entrances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from msgspec.structs import replace as replaced

from cfn.events.kinds import Event, Queue
from cfn.settings import Entrance, FunctionDefinition, Settings


def as_set(settings: Settings, functions: Sequence[FunctionDefinition]) -> list[FunctionDefinition]:
    """The functions, of which those of entrances have the events that the settings ask for."""
    return [
        replace(function, events=tuple(_event(settings, function.entrance, event) for event in function.events))
        for function in functions
    ]


def _event(settings: Settings, entrance: Entrance | None, event: Event) -> Event:
    match entrance, event:
        case Entrance.QUEUE, Queue(queue="") if settings.queue_fifo:
            return replaced(event, fifo=True)
    return event
