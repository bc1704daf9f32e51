"""One change to ministack: the replaced function, the reason, and a fingerprint of the replaced code.

ministack's internals are not a public interface, so a change in them must stop the start: all fingerprints are verified
before the first row is applied.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import LocalError

# The value of an entry that a row adds, and its fingerprint.
ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Patch:
    """A row: ``target`` of ministack is replaced by what ``replace(original, module)`` returns.

    target       "module:name", the module below the package ministack; "module:table/key…" for an entry of a table
    fingerprint  of the original target (see ``fingerprint``)
    ministack    what ministack does
    aws          what AWS does, or what the local target needs instead
    source       the source for ``aws``
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
    if value == ABSENT:
        return ABSENT
    text = inspect.getsource(value) if callable(value) else repr(value)
    if " object at 0x" in text or "<function" in text:
        raise TypeError(f"a table of objects has no fingerprint: {text[:80]}")
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
    """The module or table, the name in it, and the value of a target. Raises LookupError if there is none.

    A last key that is missing has the value ABSENT: such a row adds an entry.
    """
    module_name, _, path = target.partition(":")
    name, *keys = path.split("/")
    try:
        place: Any = importlib.import_module(f"ministack.{module_name}")
        value = getattr(place, name)
        for key in keys:
            place, name = value, key
            value = place[key] if key != keys[-1] else place.get(key, ABSENT)
    except (ImportError, AttributeError, KeyError) as error:
        raise LookupError(f"ministack has no {target}") from error
    return place, name, value


def findings(patches: Iterable[Patch], relied_on: Mapping[str, str]) -> list[str]:
    """All differences between ministack and what the rows and ``relied_on`` (target: shape) expect."""
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
    """Apply the rows in order: a later row for the same target wraps the earlier one."""
    for patch in patches:
        place, name, original = find(patch.target)
        replaced = patch.replace(original, place)
        if isinstance(place, dict):
            place[name] = replaced
        else:
            setattr(place, name, replaced)


def unfit(found: Iterable[str], version: str) -> LocalError:
    """The error for ``findings``."""
    return LocalError(
        "the embedded AWS was not started",
        f"the installed ministack differs from the one that the patches were written for: {'; '.join(found)}",
        f"Run: pip install --force-reinstall 'ministack=={version}'",
    )
