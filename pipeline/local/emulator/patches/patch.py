"""One change to ministack: what it replaces, why, and the check that ministack is still what it was written for.

ministack's internals are no public interface, so a change of theirs must stop the start instead of passing silently:
every row carries a fingerprint of what it replaces, and all rows are verified before the first is applied.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import LocalError


@dataclass(frozen=True, slots=True)
class Patch:
    """A row: ``target`` of ministack is replaced by what ``replace(original, module)`` returns.

    target       "module:name", the module below the package ministack
    fingerprint  of the target as it was when the row was written (see ``fingerprint``)
    ministack    what ministack does
    aws          what AWS does, or what the local target needs instead
    source       where that is said
    """

    target: str
    fingerprint: str
    ministack: str
    aws: str
    source: str
    replace: Callable[[Any, Any], Any]


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits that change with a function's source text, or with a table's content.

    Raises TypeError or OSError for a function whose source cannot be read.
    """
    text = inspect.getsource(value) if callable(value) else repr(value)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shape(value: Any) -> str:
    """A callable's signature without annotations, a class's name, or the name of a value's type.

    >>> shape(lambda data, size=1: None)
    '(data, size=1)'
    >>> shape({})
    'dict'
    """
    if inspect.isclass(value):
        return value.__name__
    if not callable(value):
        return type(value).__name__
    parameters = [each.replace(annotation=each.empty) for each in inspect.signature(value).parameters.values()]
    return str(inspect.Signature(parameters))


def find(target: str) -> tuple[Any, str, Any]:
    """The module, the name and the value of "module:name". Raises LookupError if there is none."""
    module_name, _, name = target.partition(":")
    try:
        module = importlib.import_module(f"ministack.{module_name}")
        return module, name, getattr(module, name)
    except (ImportError, AttributeError) as error:
        raise LookupError(f"ministack has no {target}") from error


def findings(patches: Iterable[Patch], relied_on: Mapping[str, str]) -> list[str]:
    """Everything in which ministack is not what the rows and ``relied_on`` (target: shape) expect."""
    found, seen = [], set()
    for patch in patches:
        try:
            _, _, value = find(patch.target)
            actual = fingerprint(value)
        except (LookupError, OSError, TypeError) as error:
            found.append(str(error))
            continue
        if actual != patch.fingerprint and patch.target not in seen:
            found.append(f"{patch.target} has the fingerprint {actual}, not {patch.fingerprint}")
        seen.add(patch.target)
    for target, expected in relied_on.items():
        try:
            _, _, value = find(target)
        except LookupError as error:
            found.append(str(error))
            continue
        if shape(value) != expected:
            found.append(f"{target} is {shape(value)}, not {expected}")
    return found


def apply(patches: Iterable[Patch]) -> None:
    """Apply the rows in their order: a later row for the same target wraps the earlier one."""
    for patch in patches:
        module, name, original = find(patch.target)
        setattr(module, name, patch.replace(original, module))


def unfit(found: Iterable[str], version: str) -> LocalError:
    """The error for ``findings``."""
    return LocalError(
        "the embedded AWS was not started",
        f"ministack is not the one that it is patched for: {'; '.join(found)}",
        f"Run: pip install --force-reinstall 'ministack=={version}'",
    )
