"""JSONata as Step Functions evaluates it: reference semantics, AWS's own functions, and a memory of what was evaluated.

The evaluation is jsonata-python's, a port of the reference implementation. Three things are added:

- What an expression reads (its *roots*: ``$states.input``, the clock, a variable …) is found in its syntax tree, so a
  result is kept under the values of these roots alone. A block is evaluated binding by binding, each with a memory of
  its own: a fingerprint of the execution's input is computed once, not once per state that mentions it.
- A value that the model does not know makes everything that is computed from it unknown.
- What Step Functions refuses is refused: an undefined result, a function as a result, ``$eval``.

Sources: Step Functions guide, "Transforming data with JSONata"; the causes of failures as recorded on AWS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonata
from jsonata.utils import Utils

from pipeline.verification.language.added_functions import own_functions
from pipeline.verification.language.interned import UNDEFINED, UNKNOWN, Values, plain
from pipeline.verification.language.machine import expressions
from pipeline.verification.language.syntax import CLOCK, Expression, Part, QueryError, parse, short

Roots = Mapping[str, int]
"""The numbers of the values that an expression may read: "input", "result", "errorOutput", "context.…", "$name"."""


class _NoValue(QueryError):
    """A result that is no JSON value: a function or a regular expression."""


class Language:
    """Evaluates expressions over the numbers of ``values``."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.evaluations = 0
        self._results: dict[Expression, dict[tuple[int, ...], int | str]] = {}
        self._parts: dict[tuple[Any, ...], Any] = {}
        self._fields: dict[int, tuple[Any, tuple[str, ...], bool, dict[tuple[int, ...], Any]]] = {}

    def evaluate(self, text: str, roots: Roots) -> int:
        """The number of the result. Raises QueryError where AWS fails the state with States.QueryEvaluationError."""
        return self._evaluate(parse(text), roots)

    def fill(self, field: Any, roots: Roots) -> int:
        """A field of a state with its expressions replaced by their results. Raises QueryError as ``evaluate``."""
        known = self._fields.get(id(field))
        if known is None:
            texts = list(expressions(field))
            reads = frozenset[str]().union(*(parse(text).reads for text in texts)) if texts else frozenset()
            # The field is kept, so that its id is not another one's later.
            known = self._fields[id(field)] = (field, tuple(sorted(reads)), bool(texts), {})
        _field, ordered, has_texts, memory = known
        key = tuple([roots.get(name, UNDEFINED) for name in ordered])
        result = memory.get(key)
        if result is None:
            try:
                result = self.values.add(self._filled(field, roots) if has_texts else field)
            except QueryError as error:
                result = str(error)
            memory[key] = result
        if isinstance(result, str):
            raise QueryError(result)
        return int(result)

    def _filled(self, field: Any, roots: Roots) -> Any:
        match field:
            case str() if field.startswith("{%") and field.endswith("%}"):
                return self.values[self.evaluate(field[2:-2].strip(), roots)]
            case dict():
                return {name: self._filled(each, roots) for name, each in field.items()}
            case list():
                return [self._filled(each, roots) for each in field]
        return field

    def _evaluate(self, expression: Expression, roots: Roots) -> int:
        if expression.plain is not None:
            try:
                inner = {f"${name}": self._value(block, roots) for name, block in expression.inner}
            except QueryError:
                return self._evaluate(expression.plain, roots)
            roots = {**roots, **inner}
        number = self._value(expression, roots)
        if number == UNDEFINED:
            raise QueryError(f"the JSONata expression '{short(expression.text)}' returned nothing (undefined)")
        return number

    def _value(self, expression: Expression, roots: Roots) -> int:
        """The number of the result or UNDEFINED. A block inside an expression is remembered here."""
        key = tuple([roots.get(name, UNDEFINED) for name in expression.ordered])
        memory = self._results.setdefault(expression, {})
        known = memory.get(key)
        if known is None:
            try:
                known = self._in_turn(expression, roots)
            except QueryError as error:
                known = str(error)
            memory[key] = known
        if isinstance(known, str):
            raise QueryError(known)
        return known

    def _in_turn(self, expression: Expression, roots: Roots) -> int:
        bound: dict[str, int] = {}
        functions: dict[str, Part] = {}
        for part in expression.parts:
            if part.is_function and part.name is not None:
                functions[part.name] = part
                bound.pop(part.name, None)
                continue
            try:
                number = self._part(expression, part, roots, bound, functions)
            except _NoValue:
                if part.name is None:
                    raise
                functions[part.name] = part
                bound.pop(part.name, None)
                continue
            if part.name is not None:
                bound[part.name] = number
                functions.pop(part.name, None)
        return number

    def _part(
        self,
        expression: Expression,
        part: Part,
        roots: Roots,
        bound: Mapping[str, int],
        functions: Mapping[str, Part],
    ) -> int:
        needed, pending = set(part.reads), [name for name in part.reads if name[1:] in functions]
        while pending:
            more = functions[pending.pop()[1:]].reads - needed
            needed |= more
            pending += [name for name in more if name[1:] in functions]
        reading = {
            name: bound[name[1:]] if name[1:] in bound else roots.get(name, UNDEFINED)
            for name in sorted(needed)
            if name[1:] not in functions
        }
        key = (id(part), *reading.values())
        if key not in self._parts:
            if all(self.values.known(number) for number in reading.values()):
                used = [functions[name[1:]] for name in sorted(needed) if name[1:] in functions]
                try:
                    self._parts[key] = self._run(expression, part, reading, used)
                except QueryError as error:
                    self._parts[key] = error
            else:
                self._parts[key] = self.values.add(UNKNOWN)
        result = self._parts[key]
        if isinstance(result, QueryError):
            raise result
        return int(result)

    def _run(self, expression: Expression, part: Part, reading: Roots, functions: list[Part]) -> int:
        self.evaluations += 1
        engine = expression.engine
        frame = engine.create_frame(engine.environment)
        clock = self.values[reading[CLOCK]] if reading.get(CLOCK, UNDEFINED) != UNDEFINED else 0
        name = reading.get("context.Execution.Name", UNDEFINED)
        seed = str(self.values[name]) if name != UNDEFINED else ""
        for own, function in own_functions(clock, seed).items():
            frame.bind(own, jsonata.Jsonata.JLambda(function))
        states: dict[str, Any] = {}
        for root, number in reading.items():
            if number == UNDEFINED or root == CLOCK:
                continue
            value = self.values[number]
            if root.startswith("$"):
                frame.bind(root[1:], Utils.NULL_VALUE if value is None else value)
            else:
                _put(states, root, value)
        frame.bind("states", states)
        try:
            for function in functions:
                engine.eval(function.statement, None, frame)
            value = engine.eval(part.node, None, frame)
        except RecursionError as error:
            raise QueryError(f"the JSONata expression '{short(expression.text)}' recurses without end") from error
        except Exception as error:
            code = getattr(error, "error", None)
            why = f"{code}: {error}" if code else str(error)
            raise QueryError(
                f"the JSONata expression '{short(expression.text)}' threw an error during evaluation. {why}"
            ) from error
        if value is None:
            return UNDEFINED
        try:
            return self.values.add(plain(Utils.convert_nulls(value)))
        except (TypeError, ValueError) as error:
            raise _NoValue(
                f"the JSONata expression '{short(expression.text)}' returned an unsupported result type"
            ) from error


def _put(states: dict[str, Any], root: str, value: Any) -> None:
    *folders, last = root.split(".")
    for name in folders:
        states = states.setdefault(name, {})
    states[last] = value
