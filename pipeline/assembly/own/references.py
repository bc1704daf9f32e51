"""What a module refers to: the modules that it imports, and the paths that it names in strings. Pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.core.documents import parse_python

# A string that can name a file: no spaces, and a folder or an extension.
_PATH = re.compile(r"[\w.@+~/-]*(?:/|\.)[\w.@+~/-]+")
_SERVICE = re.compile(r"[a-z][a-z0-9-]*")
_CATCH_IMPORTS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_IMPORTERS = {"import_module", "__import__"}
# boto3.client("sqs"), session.resource("s3").
_CLIENTS = {"client", "resource", "create_client"}

Kind = Literal["import", "path", "relative import", "service"]


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that a module names.

    module    the path of the module that names it, below the task root
    name      "import": a dotted module name; "path": a path with "/"; "relative import": what was written;
              "service": the AWS service that a client is made of
    attribute of an import: whether its last part may be a name inside the module before it
    optional  whether the module handles that it is missing
    late      whether it is needed only when a function is called
    """

    kind: Kind
    module: str
    line: int
    name: str
    attribute: bool = False
    optional: bool = False
    late: bool = False

    @property
    def place(self) -> str:
        return f"{self.module}:{self.line}"


def references_of(content: bytes, module: str) -> tuple[Reference, ...]:
    """The references of a module at the path ``module``; none if this Python cannot parse it."""
    try:
        tree = parse_python(content, module)
    except (SyntaxError, ValueError):
        return ()
    return tuple(dict.fromkeys(_Reader(module).read(tree, optional=False, late=False)))


class _Reader:
    def __init__(self, module: str) -> None:
        self._module = module
        self._package = module.split("/")[:-1]

    def read(self, node: ast.AST, *, optional: bool, late: bool) -> Iterator[Reference]:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield self._reference("import", node, alias.name, optional=optional, late=late)
            case ast.ImportFrom():
                yield from self._import_from(node, optional=optional, late=late)
            case ast.Try() if any(map(_catches_imports, node.handlers)):
                for part in node.body:
                    yield from self.read(part, optional=True, late=late)
                for rest in (*node.handlers, *node.orelse, *node.finalbody):
                    yield from self.read(rest, optional=optional, late=late)
            case ast.If() if _is_type_checking(node.test):
                for part in node.orelse:
                    yield from self.read(part, optional=optional, late=late)
            case ast.With() if any(map(_suppresses_imports, node.items)):
                for part in node.body:
                    yield from self.read(part, optional=True, late=late)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                for child in ast.iter_child_nodes(node):
                    yield from self.read(child, optional=optional, late=True)
            case _:
                yield from self._expression(node, optional=optional, late=late)
                for child in ast.iter_child_nodes(node):
                    yield from self.read(child, optional=optional, late=late)

    def _reference(
        self,
        kind: Kind,
        node: ast.AST,
        name: str,
        *,
        attribute: bool = False,
        optional: bool = False,
        late: bool = False,
    ) -> Reference:
        return Reference(kind, self._module, getattr(node, "lineno", 0), name, attribute, optional, late)

    def _import_from(self, node: ast.ImportFrom, *, optional: bool, late: bool) -> Iterator[Reference]:
        parts = [*(node.module or "").split(".")] if node.module else []
        if node.level:
            if node.level > len(self._package):
                written = "." * node.level + (node.module or "")
                yield self._reference("relative import", node, written, optional=optional, late=late)
                return
            parts = [*self._package[: len(self._package) - node.level + 1], *parts]
        base = ".".join(parts)
        yield self._reference("import", node, base, optional=optional, late=late)
        for alias in node.names:
            if alias.name != "*":
                name = f"{base}.{alias.name}"
                yield self._reference("import", node, name, attribute=True, optional=optional, late=late)

    def _expression(self, node: ast.AST, *, optional: bool, late: bool) -> Iterator[Reference]:
        match node:
            case ast.Constant(value=str(text)) if _PATH.fullmatch(text):
                yield self._reference("path", node, text, optional=optional, late=late)
            case ast.BinOp(op=ast.Div()):
                yield from self._joined(node, list(_operands(node)), optional=optional, late=late)
            case ast.Call(func=function, args=arguments):
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                match arguments:
                    case [ast.Constant(value=str(text)), *_] if name in _IMPORTERS:
                        if re.fullmatch(r"\w+(\.\w+)*", text):
                            yield self._reference("import", node, text, optional=optional, late=late)
                    case [ast.Constant(value=str(text)), *_] if name in _CLIENTS and _SERVICE.fullmatch(text):
                        yield self._reference("service", node, text, optional=optional, late=late)
                    case _:
                        yield from self._joined(node, arguments, optional=optional, late=late)

    def _joined(self, node: ast.AST, parts: list[ast.expr], *, optional: bool, late: bool) -> Iterator[Reference]:
        """The path of the last strings among ``parts``: ``HERE / "rules" / "cards.json"`` names rules/cards.json."""
        names: list[str] = []
        for part in reversed(parts):
            match part:
                case ast.Constant(value=str(text)) if text and "\0" not in text and " " not in text:
                    names.insert(0, text)
                case _:
                    break
        if len(names) > 1 or (names and isinstance(node, ast.BinOp)):
            yield self._reference("path", node, "/".join(names), optional=optional, late=late)


def _operands(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        yield from _operands(node.left)
        yield node.right
    else:
        yield node


def _names(node: ast.AST | None) -> set[str]:
    if node is None:
        return {"BaseException"}
    found = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return found | {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}


def _catches_imports(handler: ast.ExceptHandler) -> bool:
    return bool(_names(handler.type) & _CATCH_IMPORTS)


def _suppresses_imports(item: ast.withitem) -> bool:
    names = _names(item.context_expr)
    return "suppress" in names and bool(names & _CATCH_IMPORTS)


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in _names(test) and isinstance(test, ast.Name | ast.Attribute)
