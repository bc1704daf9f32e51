"""Human-readable causes of failed states."""

from __future__ import annotations

import json
import re

_STATE = re.compile(r"^\w+: (?=\{)")


def cause_in_words(cause: str) -> str:
    """The message of a function's error and the frame that raised it, or of a service's error; other causes unchanged.

    The cause of a failed Lambda task is Lambda's error document: errorType, errorMessage and stackTrace, innermost
    frame last (Lambda developer guide, "Understanding error handling in Python"). A service's has the message of its
    protocol's error (AWS JSON 1.1). A branch prefixes the name of its state.
    """
    try:
        document = json.loads(_STATE.sub("", cause))
    except ValueError:  # not a document, or a truncated one
        return cause
    if not isinstance(document, dict):
        return cause
    message = document.get("errorMessage", document.get("message"))
    if not isinstance(message, str):
        return cause
    frames = document.get("stackTrace")
    last = frames[-1] if isinstance(frames, list) and frames and isinstance(frames[-1], str) else ""
    place = last.strip().partition("\n")[0]
    return f"{message} ({place})" if place else message
