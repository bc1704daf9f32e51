"""Imports the code under ``images/`` the way it lies in an image: the function's files beside the shared package.

The pure modules have names of their own and can be imported as they are. Every function has a ``handler``, so a handler
is loaded under a separate name each time, because it reads its environment when it is imported: its INIT.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

IMAGES = Path(__file__).parents[3] / "images"
FUNCTIONS = ("transaction-validation", "fraud-detection", "compliance-checking")
# Deployed only where the settings have the entrance.
ENTRANCES = ("http-entrance", "queue-entrance")
EVENTS = Path(__file__).parent / "events"

for _folder in (IMAGES, *(IMAGES / function for function in (*FUNCTIONS, *ENTRANCES))):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))


def load_handler(function: str) -> ModuleType:
    """Run the INIT of a function and return its module ``handler``."""
    path = IMAGES / function / "handler.py"
    spec = importlib.util.spec_from_file_location(f"handler_of_{function.replace('-', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def context(function: str = "function") -> LambdaContext:
    """The context of an invocation, of the type that Powertools documents."""
    made = LambdaContext()
    made._function_name = f"{function}-dev"
    made._function_version = "$LATEST"
    made._invoked_function_arn = f"arn:aws:lambda:us-east-1:000000000000:function:{function}-dev"
    made._memory_limit_in_mb = 1769
    made._aws_request_id = "52fdfc07-2182-154f-163f-5f0f9a621d72"
    return made


def event(name: str) -> dict[str, Any]:
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))


def transaction(**changes: Any) -> dict[str, Any]:
    """The sample transaction with fields replaced, added, or (when given as None) removed."""
    document = event("sample")["transaction"] | changes
    return {name: value for name, value in document.items() if value is not None}


@contextmanager
def captured_log() -> Iterator[io.StringIO]:
    """What the functions' logger writes. It holds on to the standard output of the time of its import."""
    from transactions.invocation import logger

    handlers = [handler for handler in logger.handlers if isinstance(handler, logging.StreamHandler)]
    streams = [handler.stream for handler in handlers]
    written = io.StringIO()
    try:
        for handler in handlers:
            handler.setStream(written)
        yield written
    finally:
        for handler, stream in zip(handlers, streams, strict=True):
            handler.setStream(stream)
