"""What the functions find: faults (validation), reasons (fraud detection), findings (compliance).

They travel through the state machine as JSON objects (``_asdict``) and end in answers and records, so no message
repeats a value that was submitted, a name above all. Codes and rule names are stable: they are what programs, alarms
and people search for.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Fault(NamedTuple):
    """One thing wrong with a submitted transaction. field: its name, or "" for the transaction as a whole."""

    field: str
    code: str
    message: str


class Reason(NamedTuple):
    """One rule that raised a fraud score, by ``points``."""

    rule: str
    points: int
    message: str


class Action(StrEnum):
    """What a finding asks for: decline the transaction, let a person look, or only keep it on record."""

    BLOCK = "BLOCK"
    REVIEW = "REVIEW"
    REPORT = "REPORT"


class Finding(NamedTuple):
    """One compliance rule that a transaction met."""

    rule: str
    action: Action
    message: str
