"""JSONata expressions, parsed: the statements of a block, and what each of them reads."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jsonata

from pipeline.verification.language.added_functions import OWN

CLOCK = "clock"
_CONTEXT = ("Execution.Input", "Execution.Name", "Execution.StartTime", "State.EnteredTime", "State.Name", "Map.Item")


class QueryError(Exception):
    """``States.QueryEvaluationError``: an expression that AWS would fail."""


@dataclass(frozen=True, slots=True)
class Part:
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


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A parsed expression. The last part gives the result, those before it bind names. Compared by identity.

    reads    roots and names that are read anywhere in it; ordered: those that come from outside
    inner    blocks inside the expression that are evaluated first, and what names them
    plain    the expression with these blocks in their places, for when one of them fails where it may not be needed
    """

    text: str
    engine: Any
    parts: tuple[Part, ...]
    reads: frozenset[str]
    ordered: tuple[str, ...]
    inner: tuple[tuple[str, Expression], ...] = ()
    plain: Expression | None = None


# Every exploration, and every mutation of one definition, parses the same texts.
@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Raises QueryError for what does not parse or what Step Functions does not offer."""
    plain = _expression(text, *_tree(text))
    engine, tree = _tree(text)
    blocks: list[tuple[str, Any]] = []
    bound = {part.name for part in plain.parts}
    tree = _taken_out(tree, {f"${name}" for name in bound if name}, blocks, top=True)
    if not blocks:
        return plain
    inner = tuple((name, _expression(text, engine, node)) for name, node in blocks)
    return replace(_expression(text, engine, tree), inner=inner, plain=plain, reads=plain.reads)


def _tree(text: str) -> tuple[Any, Any]:
    try:
        engine = jsonata.Jsonata(text)
    except Exception as error:
        raise QueryError(f"the JSONata expression '{short(text)}' does not parse: {error}") from error
    engine.set_output_convert_nulls(False)
    return engine, engine.ast


def _expression(text: str, engine: Any, tree: Any) -> Expression:
    builtin = {f"${name}" for name in (*engine.environment.bindings, *OWN)}
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
        parts.append(Part(node.lhs.value if binds else None, node, inner, reads, is_function))
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


def _bound_first(name: str, parts: list[Part]) -> bool:
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


def short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"
