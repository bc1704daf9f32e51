"""What the settings of an environment change in the functions of its entrances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from msgspec.structs import replace as replaced

from cfn.events.kinds import Event, Queue, Route
from cfn.settings import Entrance, FunctionDefinition, Settings

# Variables of the function of the entrance ``http``; scopes are separated by spaces (RFC 6749, 3.3).
JWT_ISSUER, JWT_SCOPES = "JWT_ISSUER", "JWT_SCOPES"


def as_set(settings: Settings, functions: Sequence[FunctionDefinition]) -> list[FunctionDefinition]:
    """The functions, of which those of entrances have the events and variables that the settings ask for."""
    return [
        replace(
            function,
            events=tuple(_event(settings, function.entrance, event) for event in function.events),
            environment=(*function.environment, *_variables(settings, function.entrance)),
        )
        for function in functions
    ]


def _event(settings: Settings, entrance: Entrance | None, event: Event) -> Event:
    match entrance, event:
        case Entrance.QUEUE, Queue(queue="") if settings.queue_fifo:
            return replaced(event, fifo=True)
        case Entrance.HTTP, Route(auth="iam") if settings.jwt is not None:
            return replaced(event, auth="jwt")
    return event


def _variables(settings: Settings, entrance: Entrance | None) -> tuple[tuple[str, str], ...]:
    """What the entrance's OpenAPI document says of its tokens."""
    if entrance is not Entrance.HTTP or settings.jwt is None:
        return ()
    return (JWT_ISSUER, settings.jwt.issuer), (JWT_SCOPES, " ".join(settings.jwt.scopes))
