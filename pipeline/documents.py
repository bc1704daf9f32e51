"""JSON that somebody else wrote: whatever is wrong with it is a ValueError. Imports the standard library only."""

from __future__ import annotations

import json
from typing import Any


def parse_json(content: bytes | str) -> Any:
    """The value of a document. Raises ValueError, also for one that is nested deeper than this Python can follow."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
