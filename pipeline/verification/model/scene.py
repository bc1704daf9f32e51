"""What the expressions of a state see: its input, the variables, the clock and the context of its execution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.verification.language.added_functions import moment
from pipeline.verification.language.expressions import Language
from pipeline.verification.language.interned import UNDEFINED, Values
from pipeline.verification.language.machine import Machine, State, expressions, own_fields
from pipeline.verification.language.syntax import CLOCK, QueryError, parse
from pipeline.verification.model.steps import Local, Run


class Scene:
    """Evaluates the fields of a machine's states."""

    def __init__(self, machine: Machine, values: Values) -> None:
        self.values, self.language = values, Language(values)
        self._moments: dict[int, int] = {}
        self._names = {name: values.add(name) for name in machine.states}
        self._variables: dict[int, dict[str, int]] = {}

    def fill(self, run: Run, place: Local, clock: int, field: Any) -> int:
        """A field of the state at ``place``, evaluated. Raises QueryError."""
        return self.language.fill(field, self.roots(run, place, clock))

    def roots(
        self, run: Run, place: Local, clock: int, result: int = UNDEFINED, error: int = UNDEFINED
    ) -> dict[str, int]:
        _kind, name, given, variables, entered = place[:5]
        named = self._variables.get(variables)
        if named is None:
            named = {f"${each}": self.values.add(value) for each, value in self.values[variables].items()}
            self._variables[variables] = named
        return {
            **named,
            "input": given,
            "result": result,
            "errorOutput": error,
            CLOCK: self.values.add(clock + run.skew),
            "context.Execution.Input": run.payload,
            "context.Execution.Name": self._name(run),
            "context.Execution.Id": self._arn(run),
            "context.Execution.StartTime": self._time(run.started + run.skew),
            "context.State.EnteredTime": self._time(entered + run.skew),
            "context.State.Name": self._names[name],
        }

    def _name(self, run: Run) -> int:
        return self.values.add(self.values[run.name].partition(":")[0])

    def _arn(self, run: Run) -> int:
        """As an EXPRESS execution has it (recorded)."""
        return self.values.add(f"arn:aws:states:us-east-1:111111111111:express:machine:{self.values[run.name]}")

    def _time(self, clock: int) -> int:
        if clock not in self._moments:
            self._moments[clock] = self.values.add(moment(clock))
        return self._moments[clock]

    def assigned(self, fields: Any, variables: int, roots: Mapping[str, int]) -> int:
        """The variables after ``Assign``: a field that reads a variable reads its value before."""
        if not fields:
            return variables
        new = {name: self.values[self.language.fill(field, roots)] for name, field in fields.items()}
        return self.values.add(dict(sorted({**self.values[variables], **new}.items())))

    def reads(self, state: State) -> frozenset[str]:
        """The roots and variables that the expressions of a state mention."""
        found: set[str] = set()
        for text in expressions(own_fields(state)):
            try:
                found |= parse(text).reads
            except QueryError:
                continue
        return frozenset(found)
