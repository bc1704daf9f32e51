"""Which module a handler names, found as importlib finds it, and whether that module binds the function.

Sources: importlib's path finder, which takes a package with ``__init__.py`` before a module, and both before a folder
without one; awslambdaric, which splits the handler at its last dot and imports the rest.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.assembly.ignore import IgnoreRules
from pipeline.assembly.model import PythonVersion
from pipeline.core.documents import parse_python

_HANDLER = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\.(?P<function>[A-Za-z_]\w*)", re.ASCII)
# Calls by which a module can bind names that no reader sees.
_DYNAMIC = {"globals", "setattr", "exec", "vars"}


class HandlerFindings:
    """What is wrong with a handler: ``errors`` stop the build, ``warnings`` are what cannot be decided by reading."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []


def judge_handler(
    folder: Path, rules: IgnoreRules, handler: str, python: PythonVersion | None, *, elsewhere: bool = False
) -> HandlerFindings:
    """Hold ``handler`` against the files of ``folder``.

    python     the version that will run it (default: this one)
    elsewhere  whether its module may come from a shared package or a dependency, as a wrapper's handler does
    """
    found = HandlerFindings()
    match = _HANDLER.fullmatch(handler)
    if match is None:
        found.errors.append(f'handler = {handler!r} is not written like "handler.handle" (module, then function)')
        return found
    parts = match["module"].split(".")
    path = module_path(folder, parts)
    if path is None:
        name = "/".join(parts)
        if elsewhere and not (folder / parts[0]).exists():
            found.warnings.append(f"handler = {handler!r} is not in the function's folder, so it was not looked into")
            return found
        found.errors.append(f"handler = {handler!r}, but there is neither {name}.py nor {name}/__init__.py")
        return found
    name = path.relative_to(folder).as_posix()
    if reason := rules.reason(name):
        found.errors.append(f"handler = {handler!r}, but {name} is not shipped: {reason} leaves it out")
    hidden = path.parent.with_suffix(".py") if path.name == "__init__.py" else None
    beside = f" ({hidden.name} beside it is never imported)" if hidden is not None and hidden.is_file() else ""
    try:
        text = path.read_bytes()
    except OSError as error:
        found.errors.append(f"handler = {handler!r}, but {name} cannot be read ({error.strerror})")
        return found
    try:
        module = parse_python(text, name)
    except (SyntaxError, ValueError) as problem:
        if python is None or (python.major, python.minor) <= sys.version_info[:2]:
            found.errors.append(f"{name} is no Python that {python or 'this version'} reads: {problem}")
        elif match["function"].encode() not in text:  # written for a newer Python than this one
            found.errors.append(f"handler = {handler!r}, but {name}{beside} defines no {match['function']}")
        return found
    match _binds(folder, parts, module, match["function"], frozenset({path})):
        case False:
            found.errors.append(f"handler = {handler!r}, but {name}{beside} defines no {match['function']}")
        case None:
            found.warnings.append(
                f"whether {name} defines {match['function']} cannot be decided by reading it; the first invocation will"
            )
    return found


# Handlers of Lambda's own examples and of other tools' templates, the likeliest first.
_USUAL_MODULES = ("handler", "lambda_function", "app", "main", "index", "function")
_USUAL_FUNCTIONS = ("handle", "handler", "lambda_handler", "main")


def guess_handler(folder: Path, rules: IgnoreRules) -> str | None:
    """The handler of a folder with Python code, as ``lambda_function.lambda_handler``; None where none is usual."""
    for module in _USUAL_MODULES:
        for function in _USUAL_FUNCTIONS if module_path(folder, [module]) else ():
            found = judge_handler(folder, rules, f"{module}.{function}", None)
            if not found.errors and not found.warnings:
                return f"{module}.{function}"
    return None


def module_path(folder: Path, parts: list[str]) -> Path | None:
    """The file that ``import a.b`` would load from ``folder``, or None."""
    place = folder
    for number, part in enumerate(parts):
        package = place / part / "__init__.py"
        last = number == len(parts) - 1
        if package.is_file():
            if last:
                return package
        elif (module := place / f"{part}.py").is_file():
            return module if last else None
        elif last:
            return None
        place = place / part
    return None


def _binds(
    folder: Path, parts: list[str], module: ast.Module, name: str, seen: frozenset[Path], depth: int = 8
) -> bool | None:
    """Whether a module binds ``name`` when it is imported; None if reading cannot decide it."""
    unknown = False
    for statement in _statements(module.body):
        if name in _bound(statement):
            return True
        if isinstance(statement, ast.ImportFrom) and any(alias.name == "*" for alias in statement.names):
            match _star(folder, parts, statement, name, seen, depth):
                case True:
                    return True
                case None:
                    unknown = True
    return None if unknown or _is_dynamic(module, name) else False


def _star(
    folder: Path, parts: list[str], statement: ast.ImportFrom, name: str, seen: frozenset[Path], depth: int
) -> bool | None:
    """Whether ``from x import *`` brings ``name``; None for a module that is not among these files."""
    inner = (statement.module or "").split(".") if statement.module else []
    if statement.level:
        path = module_path(folder, parts)
        package = parts if path is not None and path.name == "__init__.py" else parts[:-1]
        inner = [*package[: len(package) - statement.level + 1], *inner]
    path = module_path(folder, inner)
    if path is None or path in seen or depth == 0:
        return None if path is None or depth == 0 else False
    try:
        module = parse_python(path.read_bytes(), path.name)
    except (OSError, SyntaxError, ValueError):
        return None
    if any("__all__" in _bound(each) for each in _statements(module.body)):
        listed = any(isinstance(each, ast.Constant) and each.value == name for each in ast.walk(module))
        return None if listed else False
    if name.startswith("_"):
        return False
    return _binds(folder, inner, module, name, seen | {path}, depth - 1)


def _is_dynamic(module: ast.Module, name: str) -> bool:
    for node in ast.walk(module):
        match node:
            case ast.FunctionDef(name="__getattr__") | ast.Global(names=[*_]) if (
                isinstance(node, ast.FunctionDef) or name in node.names
            ):
                return True
            case ast.Call(func=ast.Name(id=called)) if called in _DYNAMIC:
                return True
    return False


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported: also those inside if, try, with, loops and match."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for child in ast.iter_child_nodes(statement):
            match child:
                case ast.ExceptHandler(body=inner) | ast.match_case(body=inner):
                    yield from _statements(inner)
                case ast.stmt():
                    yield from _statements([child])


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a statement itself binds."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.AnnAssign(value=None):
            return set()
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {alias.asname or alias.name.partition(".")[0] for alias in names}
    found: set[str] = set()
    for field in ast.iter_child_nodes(statement):
        if not isinstance(field, ast.stmt):
            found |= {each.id for each in _in_scope(field) if isinstance(each.ctx, ast.Store)}
    return found


def _in_scope(node: ast.AST) -> Iterator[ast.Name]:
    """The names of an expression that belong to the module: not those of comprehensions and functions in it."""
    if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.stmt):
        return
    if isinstance(node, ast.Name):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _in_scope(child)
