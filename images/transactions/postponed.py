"""Modules that a library imports at its start and that our functions never use: loaded at the first look into them."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from typing import Any


class _Postponing:
    """A finder that goes first and gives its modules the standard library's lazy loader."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self._names:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def postpone(*names: str) -> None:
    """From here on ``import name`` binds a module whose code runs at the first look into it.

    For modules that are imported whole: ``from name import something`` looks into them at once. What is imported
    already stays as it is, and what cannot be found fails where it is imported, as ever.
    """
    sys.meta_path.insert(0, _Postponing(frozenset(names)))
