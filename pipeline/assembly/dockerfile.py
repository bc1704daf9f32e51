"""What a Dockerfile does that an image without an engine does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.files import read_regular
from pipeline.core.shown import first_few

_MOST = 1 << 20
# Parser directives, comments, and lines that only continue.
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_CONTINUED = re.compile(r"\\[ \t]*\r?\n")
# What layers without an engine do as well: files, the handler, locked dependencies; and what Lambda ignores.
_COVERED = frozenset(
    {
        "FROM",
        "ARG",
        "COPY",
        "CMD",
        "LABEL",
        "MAINTAINER",
        "EXPOSE",
        "HEALTHCHECK",
        "STOPSIGNAL",
        "VOLUME",
        "USER",
        "SHELL",
    }
)
_INSTALLS = re.compile(r"RUN\s+(?:python3?\s+-m\s+)?pip3?\s+install\b[^&;|]*$", re.IGNORECASE)
_TASK_ROOT = re.compile(r"WORKDIR\s+[\"']?(?:/var/task|\$\{?LAMBDA_TASK_ROOT\}?)/?[\"']?\s*$", re.IGNORECASE)


def unused_instructions(path: Path) -> str:
    """The instructions of a Dockerfile that have no effect without an engine, for a sentence; "" for none."""
    try:
        text = read_regular(path, _MOST).decode("utf-8", "replace")
    except OSError:
        return ""
    return first_few(_beyond(text), 3)


def _beyond(text: str) -> Iterator[str]:
    for line in _CONTINUED.sub(" ", _COMMENT.sub("", text)).splitlines():
        words = line.split()
        if not words or not re.fullmatch("[A-Za-z]+", words[0]):
            continue  # the text of a here-document, or nothing
        instruction = words[0].upper()
        copied = instruction == "COPY" and any(word.startswith("--from=") for word in words)
        if instruction in _COVERED and not copied:
            continue
        if not _INSTALLS.match(line.strip()) and not _TASK_ROOT.match(line.strip()):
            yield " ".join([instruction, *words[1:]])
