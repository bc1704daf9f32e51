"""The services of a model: requests, each carried out once per table and noted where a promise is about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.verification.language.integrations import Integration
from pipeline.verification.language.interned import Values
from pipeline.verification.model.steps import Effect, Run
from pipeline.verification.model.world import Abstraction
from pipeline.verification.table.conditions import ValidationError
from pipeline.verification.table.requests import Refusal, key_text, request_key
from pipeline.verification.table.requests import run as run_request

EPOCH = 1_800_000_000_000
"""The clock at the beginning, in milliseconds of Unix time."""


class Services:
    """requests: every request that was met, by its number."""

    def __init__(self, values: Values, abstraction: Abstraction) -> None:
        self.values, self.abstraction = values, abstraction
        self.requests: list[tuple[Integration, int]] = []
        self._numbers: dict[tuple[Integration, int], int] = {}
        self._results: dict[tuple[int, int], tuple[Any, int]] = {}
        self._ages: dict[tuple[int, int], int] = {}

    def number(self, integration: Integration, arguments: int) -> int:
        """The number of a request."""
        key = (integration, arguments)
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.requests)
            self.requests.append(key)
        return found

    def carry_out(self, request: int, table: int) -> tuple[Any, int]:
        """(result or Refusal, table after it); the result is a number."""
        key = (request, table)
        known = self._results.get(key)
        if known is None:
            integration, arguments = self.requests[request]
            given = self.values[arguments]
            own, prefix = self.abstraction.key_names, f"{given.get('TableName', '')} "
            before = self.values[table]
            mine = {place[len(prefix) :]: item for place, item in before.items() if place.startswith(prefix)}
            result, after = run_request(integration.action, given, mine, own)
            others = {place: item for place, item in before.items() if not place.startswith(prefix)}
            own_items = {f"{prefix}{place}": self._kept(item) for place, item in after.items()}
            merged = dict(sorted({**others, **own_items}.items()))
            known = (result if isinstance(result, Refusal) else self.values.add(result), self.values.add(merged))
            self._results[key] = known
        return known

    def sent(self, run: Run, effects: Sequence[Effect]) -> tuple[int, ...]:
        """What the world remembers of requests that no other execution can see."""
        notes = (self.abstraction.noted(run, effect, self.values[effect.arguments]) for effect in effects)
        return tuple(self.values.add([self.values[run.name], note]) for note in notes if note is not None)

    def at_age(self, table: int, clock: int) -> int:
        key = (table, clock)
        if key not in self._ages:
            items = {place: self.abstraction.aged(item, EPOCH + clock) for place, item in self.values[table].items()}
            self._ages[key] = self.values.add(items)
        return self._ages[key]

    def _kept(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.abstraction.observed is None:
            return item
        item = self.abstraction.shown(item)
        return {
            name: value
            for name, value in item.items()
            if name in self.abstraction.observed or name in self.abstraction.key_names
        }


def item_place(arguments: Mapping[str, Any], action: str, key_names: tuple[str, ...]) -> str:
    """Under which name the model's table has the item that a request is about; "" for a request without a key."""
    try:
        return f"{arguments.get('TableName', '')} {key_text(request_key(action, arguments, key_names))}"
    except ValidationError:
        return ""
