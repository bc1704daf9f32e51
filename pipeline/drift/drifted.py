"""A resource that differs from its template, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

# Values of variables are not shown: what was set by hand may be a secret.
_HIDDEN = "Environment.Variables"


@dataclass(frozen=True, slots=True)
class Difference:
    """One property, as text; None for an absent value."""

    path: str
    expected: str | None
    actual: str | None

    @classmethod
    def of(cls, path: str, expected: str | None, actual: str | None) -> Difference:
        """A difference without the values of environment variables.

        >>> Difference.of("Environment.Variables.KEY", "a", "b").text
        'Environment.Variables.KEY is (another value) instead of (a value)'
        """
        if _HIDDEN in path:
            other = "(a value)" if expected is None else "(another value)"
            return cls(path, None if expected is None else "(a value)", None if actual is None else other)
        return cls(path, expected, actual)

    @property
    def text(self) -> str:
        return f"{self.path} is {_shown(self.actual)} instead of {_shown(self.expected)}"


@dataclass(frozen=True, slots=True)
class Drifted:
    """A resource that was changed outside of its stack.

    name      its physical id: the name of a function
    deleted   it is gone; it has no differences then
    """

    logical_id: str
    resource_type: str
    name: str
    differences: tuple[Difference, ...] = ()
    deleted: bool = False

    @property
    def text(self) -> str:
        said = "was deleted" if self.deleted else "; ".join(each.text for each in self.differences)
        return f"{self.name or self.logical_id}: {said or 'differs'}"

    def with_more(self, other: Drifted) -> Drifted:
        """The same resource, with the differences of ``other`` that this one lacks."""
        known = {each.path for each in self.differences}
        more = tuple(each for each in other.differences if each.path not in known)
        return replace(self, differences=(*self.differences, *more), deleted=self.deleted or other.deleted)

    def to_json(self) -> dict[str, Any]:
        return {
            "logical_id": self.logical_id,
            "type": self.resource_type,
            "name": self.name,
            "deleted": self.deleted,
            "differences": [
                {"path": each.path, "expected": each.expected, "actual": each.actual} for each in self.differences
            ],
        }


def _shown(value: str | None) -> str:
    if value is None:
        return "(none)"
    return value if len(value) <= 120 else f"{value[:117]}…"
