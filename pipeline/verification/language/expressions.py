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

import hashlib
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jsonata
from jsonata.utils import Utils

from pipeline.verification.language.interned import UNDEFINED, UNKNOWN, Values, plain
from pipeline.verification.language.machine import expressions

Roots = Mapping[str, int]
"""The numbers of the values that an expression may read: "input", "result", "errorOutput", "context.…", "$name"."""

CLOCK = "clock"
_CONTEXT = ("Execution.Input", "Execution.Name", "Execution.StartTime", "State.EnteredTime", "State.Name", "Map.Item")


class QueryError(Exception):
    """``States.QueryEvaluationError``: an expression that AWS would fail."""


class _NoValue(QueryError):
    """A result that is no JSON value: a function or a regular expression."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A statement of a block, or a whole expression.

    name       what the statement binds, or None
    statement  its syntax tree; node: that of its value
    reads      roots and names
    """

    name: str | None
    statement: Any
    node: Any
    reads: frozenset[str]
    is_function: bool


@dataclass(slots=True)
class Expression:
    """A parsed expression. The last part gives the result, those before it bind names.

    reads    roots and names that are read anywhere in it; ordered: those that come from outside
    memory   results by the numbers of what ``ordered`` names
    inner    blocks inside the expression that are evaluated first, each with a memory of its own, and what names them
    plain    the expression with these blocks in their places, for when one of them fails where it may not be needed
    """

    text: str
    engine: Any
    parts: tuple[_Part, ...]
    reads: frozenset[str]
    ordered: tuple[str, ...]
    memory: dict[tuple[int, ...], int | str] = field(default_factory=dict)
    inner: tuple[tuple[str, Expression], ...] = ()
    plain: Expression | None = None


class Language:
    """Parses expressions and evaluates them over the numbers of ``values``."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.evaluations = 0
        self._parsed: dict[str, Expression] = {}
        self._parts: dict[tuple[Any, ...], Any] = {}
        self._fields: dict[int, tuple[Any, tuple[str, ...], bool, dict[tuple[int, ...], Any]]] = {}

    def parse(self, text: str) -> Expression:
        """Raises QueryError for what does not parse or what Step Functions does not offer."""
        found = self._parsed.get(text)
        if found is None:
            found = self._parsed[text] = _parse(text)
        return found

    def evaluate(self, text: str, roots: Roots) -> int:
        """The number of the result. Raises QueryError where AWS fails the state with States.QueryEvaluationError."""
        return self._evaluate(self.parse(text), roots)

    def fill(self, field: Any, roots: Roots) -> int:
        """A field of a state with its expressions replaced by their results. Raises QueryError as ``evaluate``."""
        known = self._fields.get(id(field))
        if known is None:
            texts = list(expressions(field))
            reads = frozenset[str]().union(*(self.parse(text).reads for text in texts)) if texts else frozenset()
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
            raise QueryError(f"the JSONata expression '{_short(expression.text)}' returned nothing (undefined)")
        return number

    def _value(self, expression: Expression, roots: Roots) -> int:
        """The number of the result or UNDEFINED. A block inside an expression is remembered here."""
        key = tuple([roots.get(name, UNDEFINED) for name in expression.ordered])
        known = expression.memory.get(key)
        if known is None:
            try:
                known = self._in_turn(expression, roots)
            except QueryError as error:
                known = str(error)
            expression.memory[key] = known
        if isinstance(known, str):
            raise QueryError(known)
        return known

    def _in_turn(self, expression: Expression, roots: Roots) -> int:
        bound: dict[str, int] = {}
        functions: dict[str, _Part] = {}
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
        part: _Part,
        roots: Roots,
        bound: Mapping[str, int],
        functions: Mapping[str, _Part],
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

    def _run(self, expression: Expression, part: _Part, reading: Roots, functions: list[_Part]) -> int:
        self.evaluations += 1
        engine = expression.engine
        frame = engine.create_frame(engine.environment)
        clock = self.values[reading[CLOCK]] if reading.get(CLOCK, UNDEFINED) != UNDEFINED else 0
        name = reading.get("context.Execution.Name", UNDEFINED)
        seed = str(self.values[name]) if name != UNDEFINED else ""
        for own, function in _functions(clock, seed).items():
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
            raise QueryError(f"the JSONata expression '{_short(expression.text)}' recurses without end") from error
        except Exception as error:
            code = getattr(error, "error", None)
            why = f"{code}: {error}" if code else str(error)
            raise QueryError(
                f"the JSONata expression '{_short(expression.text)}' threw an error during evaluation. {why}"
            ) from error
        if value is None:
            return UNDEFINED
        try:
            return self.values.add(plain(Utils.convert_nulls(value)))
        except (TypeError, ValueError) as error:
            raise _NoValue(
                f"the JSONata expression '{_short(expression.text)}' returned an unsupported result type"
            ) from error


def _put(states: dict[str, Any], root: str, value: Any) -> None:
    *folders, last = root.split(".")
    for name in folders:
        states = states.setdefault(name, {})
    states[last] = value


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


# --- parsing ----------------------------------------------------------------------------------------------------------


def _parse(text: str) -> Expression:
    plain = _expression(text, *_tree(text))
    engine, tree = _tree(text)
    blocks: list[tuple[str, Any]] = []
    bound = {part.name for part in plain.parts}
    tree = _taken_out(tree, {f"${name}" for name in bound if name}, blocks, top=True)
    if not blocks:
        return plain
    expression = _expression(text, engine, tree)
    expression.inner = tuple((name, _expression(text, engine, node)) for name, node in blocks)
    expression.plain, expression.reads = plain, plain.reads
    return expression


def _tree(text: str) -> tuple[Any, Any]:
    try:
        engine = jsonata.Jsonata(text)
    except Exception as error:
        raise QueryError(f"the JSONata expression '{_short(text)}' does not parse: {error}") from error
    engine.set_output_convert_nulls(False)
    return engine, engine.ast


def _expression(text: str, engine: Any, tree: Any) -> Expression:
    builtin = {f"${name}" for name in (*engine.environment.bindings, *_OWN)}
    builtin |= {f"${name}" for name in engine.environment.parent.bindings} if engine.environment.parent else set()
    whole = tree.type == "block" and not any(getattr(tree, name, None) for name in ("predicate", "stages", "group"))
    statements = list(tree.expressions) if whole else [tree]
    parts = []
    for number, node in enumerate(statements):
        binds = whole and node.type == "bind" and number < len(statements) - 1
        inner = node.rhs if binds else node
        is_function = binds and inner.type == "lambda"
        reads = frozenset(_reads(inner)) - (builtin - {"$eval"})
        # A function is bound by its own statement, so that it can call itself.
        parts.append(_Part(node.lhs.value if binds else None, node, inner, reads, is_function))
    all_reads = frozenset[str]().union(*(part.reads for part in parts))
    if "$eval" in all_reads:
        raise QueryError("Step Functions has no $eval, use $parse")
    ordered = tuple(sorted(name for name in all_reads if not _bound_first(name, parts)))
    return Expression(text, engine, tuple(parts), all_reads, ordered)


def _taken_out(node: Any, bound: set[str], blocks: list[tuple[str, Any]], *, top: bool = False) -> Any:
    """``node`` with a variable for each block whose value depends on nothing but what the whole expression reads.

    Only places are entered that are evaluated in the context of the whole: no steps of a path, no functions.
    """
    if node.type == "block" and not top and not set(_reads(node)) & bound:
        name = f"__{len(blocks)}"
        blocks.append((name, node))
        return jsonata.Jsonata(f"${name}").ast
    bound = bound | {f"${each.lhs.value}" for each in getattr(node, "expressions", None) or () if each.type == "bind"}
    for field_name in ("lhs", "rhs", "condition", "then", "_else"):
        child = getattr(node, field_name, None)
        if (
            node.type in ("binary", "bind", "condition")
            and hasattr(child, "type")
            and not (node.type == "bind" and field_name == "lhs")
        ):
            setattr(node, field_name, _taken_out(child, bound, blocks))
    if node.type in ("block", "unary") and getattr(node, "expressions", None):
        node.expressions = [_taken_out(each, bound, blocks) for each in node.expressions]
    if node.type == "function" and getattr(node, "arguments", None):
        node.arguments = [_taken_out(each, bound, blocks) for each in node.arguments]
    if node.type == "unary" and getattr(node, "lhs_object", None):
        node.lhs_object = [[name, _taken_out(value, bound, blocks)] for name, value in node.lhs_object]
    return node


def _bound_first(name: str, parts: list[_Part]) -> bool:
    """Whether every reading of ``name`` comes after a statement that binds it."""
    for part in parts:
        if part.name is not None and name == f"${part.name}" and (part.is_function or name not in part.reads):
            return True
        if name in part.reads:
            return False
    return False


def _reads(node: Any) -> Iterator[str]:
    """The roots and names that a syntax tree mentions: more than it reads, where a function's parameter hides one."""
    kind = getattr(node, "type", None)
    if kind == "path" and node.steps and node.steps[0].type == "variable" and node.steps[0].value == "states":
        yield from _root([step.value for step in node.steps[1:] if step.type == "name"])
        for step in node.steps:
            yield from _children(step)
        yield from _children(node, ("group",))
        return
    if kind == "variable":
        if node.value == "states":
            yield from ("input", "result", "errorOutput", *(f"context.{name}" for name in _CONTEXT))
        elif node.value in ("millis", "now"):
            yield CLOCK
        elif node.value in ("uuid", "random"):
            yield from (CLOCK, "context.Execution.Name")
        elif node.value:
            yield f"${node.value}"
    yield from _children(node)


def _root(steps: list[str]) -> Iterator[str]:
    if not steps:
        yield from ("input", "result", "errorOutput", *(f"context.{name}" for name in _CONTEXT))
    elif steps[0] != "context":
        yield steps[0]
    else:
        below = ".".join(steps[1:3])
        inside = [name for name in _CONTEXT if f"{name}.".startswith(f"{below}.") or not below]
        yield from (f"context.{name}" for name in inside or (below,))


_SKIPPED = ("_outer_instance", "parent", "ancestor", "slot")


def _children(node: Any, only: tuple[str, ...] = ()) -> Iterator[str]:
    for name, value in vars(node).items():
        if name in _SKIPPED or (only and name not in only):
            continue
        for child in _nodes(value):
            yield from _reads(child)


def _nodes(value: Any) -> Iterator[Any]:
    if hasattr(value, "type") and hasattr(value, "position"):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _nodes(each)


# --- the functions that Step Functions adds, and those that read the clock --------------------------------------------


_OWN = ("partition", "range", "hash", "random", "uuid", "parse", "millis", "now")


def _functions(clock: int, seed: str) -> dict[str, Any]:
    """Step Functions guide, "JSONata functions provided by Step Functions"."""
    return {
        "millis": lambda: clock,
        "now": lambda *_picture: moment(clock),
        "partition": _partition,
        "range": _range,
        "hash": _hash,
        "random": lambda *given: random.Random(given[0] if given else f"{seed}{clock}").random(),  # noqa: S311
        "uuid": lambda: _uuid(f"{seed}{clock}"),
        "parse": _parse_json,
    }


def moment(milliseconds: int) -> str:
    """A time as Step Functions and JSONata write it: ISO 8601 with milliseconds and Z."""
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _partition(array: list[Any], size: float) -> list[Any]:
    count = math.floor(size)
    if count <= 0:
        raise ValueError("$partition: the chunk size must be a positive integer")
    return [array[at : at + count] for at in range(0, len(array), count)]


def _range(first: float, last: float, step: float) -> list[int]:
    by = math.floor(step)
    if by == 0:
        raise ValueError("$range: the step must not be zero")
    numbers = list(range(math.floor(first), math.floor(last) + (1 if by > 0 else -1), by))
    if len(numbers) > 1000:
        raise ValueError("$range: the result has more than 1000 items")
    return numbers


_HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}


def _hash(text: str, algorithm: str = "") -> str:
    if algorithm not in _HASHES:
        raise ValueError(f"$hash: the algorithm must be one of {', '.join(_HASHES)}, saw: {algorithm!r}")
    if not isinstance(text, str):
        raise TypeError("$hash: the first argument must be a string")
    if len(text) > 10_000:
        raise ValueError("$hash: the text has more than 10,000 characters")
    return hashlib.new(_HASHES[algorithm], text.encode(), usedforsecurity=False).hexdigest()


def _uuid(seed: str) -> str:
    digits = hashlib.sha256(seed.encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


def _parse_json(text: str) -> Any:
    value = json.loads(text)
    return Utils.NULL_VALUE if value is None else value
