"""Answers that were recorded on AWS: which of LocalStack's recordings are kept, and what they are.

LocalStack (https://github.com/localstack/localstack, Apache License 2.0) runs its tests against AWS and records the
answers beside them. ``tests.recorded.collect`` copies those that ``recordings.toml`` and ``answers.toml`` name;
``data/README.md`` has the attribution.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
DATA = FOLDER / "data"
MACHINES, ANSWERS = DATA / "state-machines.json", DATA / "answers.json"

# Functions of recorded machines, by what they do. These names stand for ARNs in definitions and inputs.
ECHO, RAISE, RAISE_CUSTOM = "${Echo}", "${RaiseException}", "${RaiseCustomException}"
SLOW, LARGE, MISSING = "${Slow}", "${LargeOutput}", "${NoFunction}"
TABLE, QUEUE, TOPIC, MISSING_TOPIC = "${Table}", "${Queue}", "${Topic}", "${NoTopic}"
# More than a state may give.
LARGE_TEXT = "${LargeText}"


@dataclass(frozen=True)
class Source:
    """Where a recording comes from: a test of LocalStack, the machine that it ran, and what it changed in it.

    file      below ``stepfunctions/v2``, without ``.snapshot.json``
    test      the test's name with its parameters
    machine   below ``stepfunctions/templates``, without ``statemachines/`` and ``.json5``; "" for one made in code
    changes   dotted path in the definition → value
    function  what the recording's function does: one of the names above
    topic     the topic that it publishes to
    """

    file: str
    test: str
    machine: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    function: str = ""
    topic: str = TOPIC


@dataclass(frozen=True)
class Kept:
    """A recorded answer that is kept as it is: the file below ``tests/aws/services``, the test's name, and the part."""

    file: str
    test: str
    part: str


def sources() -> dict[str, Source]:
    read = tomllib.loads((FOLDER / "recordings.toml").read_text())
    return {name: Source(**(row | {"changes": json.loads(row.get("changes", "{}"))})) for name, row in read.items()}


def kept_answers() -> dict[str, Kept]:
    return {name: Kept(**row) for name, row in tomllib.loads((FOLDER / "answers.toml").read_text()).items()}


def machines() -> dict[str, dict[str, Any]]:
    """Recording → source, recorded, definition, input, status, output or error and cause, and the states' outputs."""
    loaded: dict[str, dict[str, Any]] = json.loads(MACHINES.read_text())
    return loaded


def answers() -> dict[str, dict[str, Any]]:
    """Answer → source, recorded and the content."""
    loaded: dict[str, dict[str, Any]] = json.loads(ANSWERS.read_text())
    return loaded
