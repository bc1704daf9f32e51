"""Why a state failed, for people."""

from __future__ import annotations

import json
import re

_STATE = re.compile(r"^\w+: (?=\{)")


def cause_in_words(cause: str) -> str:
    """The message of a function's error, and where it arose; any other cause as it is.

    Step Functions gives as cause what Lambda answered: a document with errorType, errorMessage and stackTrace (Lambda
    developer guide, "Understanding error handling in Python"), of which the frame that raised comes last. A branch puts
    its state's name before it.
    """
    try:
        document = json.loads(_STATE.sub("", cause))
    except ValueError:  # no document, or one that was cut
        return cause
    message = document.get("errorMessage") if isinstance(document, dict) else None
    if not isinstance(message, str):
        return cause
    frames = document.get("stackTrace")
    last = frames[-1] if isinstance(frames, list) and frames and isinstance(frames[-1], str) else ""
    place = last.strip().partition("\n")[0]
    return f"{message} ({place})" if place else message
