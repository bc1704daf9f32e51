"""What a running host says of itself in ``FOLDER/local.json``, and whether it is still true. Light to import."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "local.json"
# Raised when the file's meaning changes; a file of another format is not read.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class HostState:
    """``pid`` and ``start_time`` together name one process for good; ``runtime`` is "process" or "docker"."""

    pid: int
    start_time: int
    port: int
    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str
    fresh: bool
    runtime: str = "process"
    format: int = FORMAT

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.start_time


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot, or None when there is no such process or it is a zombie.

    A pid with its start time names one process for good; a pid alone is given out again.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field, the name in parentheses, may itself contain spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def read_state(folder: Path) -> HostState | None:
    """What the file says, be it true or not; None when there is none or it is not ours."""
    try:
        document = json.loads((folder / FILE).read_bytes())
        return HostState(**document) if document["format"] == FORMAT else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_state(folder: Path, state: HostState) -> None:
    """Write atomically; only the owner may read it, as with any credentials."""
    temporary = folder / f".{FILE}-{os.getpid()}"
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(state), file, indent=2)
    temporary.replace(folder / FILE)
