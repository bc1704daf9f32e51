"""Parse each JSONata expression of a state machine once, instead of at every state of every execution.

ministack parses an expression whenever it evaluates it, which is half of what an execution costs it; the syntax tree of
the same text is the same. Evaluation only reads the tree (a test holds the engine to that), so one serves all threads.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import threading
from typing import Any

# Far more than the state machines of one emulator have; beyond it expressions are parsed each time.
KEPT_MAX = 4096
_PARSE = ("self", "jsonata", "regex_engine")

log = logging.getLogger("pipeline.local.emulator.expressions")


def parse_expressions_once() -> bool:
    """Hook the engine; False, and everything stays as it was, when the engine is not as expected.

    It only saves time, so another version of the engine is no reason not to start.
    """
    engine: Any = importlib.import_module("jsonata.jsonata").Jsonata
    parser_class: Any = importlib.import_module("jsonata.parser").Parser
    get_parser = getattr(engine, "get_parser", None)
    if (
        get_parser is None
        or inspect.signature(get_parser).parameters
        or tuple(inspect.signature(parser_class.parse).parameters) != _PARSE
    ):
        log.warning("the JSONata engine is not the one expected: expressions are parsed at every state")
        return False
    parser = keeping_parser(parser_class)
    # ministack's own is one per thread, and every execution has threads of its own.
    engine.get_parser = staticmethod(lambda: parser)
    return True


def keeping_parser(parser_class: Any) -> Any:
    """A parser for all threads that keeps the trees it made. What is no expression raises each time."""

    class KeepingParser(parser_class):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._trees: dict[tuple[Any, ...], Any] = {}
            self._parsing = threading.Lock()

        def parse(self, jsonata: str, *engine: Any) -> Any:
            tree = self._trees.get((jsonata, *engine))
            if tree is None:
                with self._parsing:
                    tree = super().parse(jsonata, *engine)
                if len(self._trees) < KEPT_MAX:
                    self._trees[(jsonata, *engine)] = tree
            return tree

    return KeepingParser()
