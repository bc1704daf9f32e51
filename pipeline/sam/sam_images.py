"""Whether a Dockerfile makes what is made without an engine: files and locked wheels on AWS's Python base."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.assembly.ignore import read_rules
from pipeline.assembly.model import PythonVersion
from pipeline.assembly.own.entry import judge_handler
from pipeline.core.errors import SourceError

_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_CONTINUED = re.compile(r"\\[ \t]*\r?\n")
_BASE = re.compile(r"public\.ecr\.aws/lambda/python:3\.(?P<minor>11|12|13|14)(?:[.-][\w.-]*)?", re.ASCII)
_PIP = re.compile(r"(?:python[0-9.]*\s+-m\s+)?pip[0-9.]*\s+install\s+(?P<options>[^&;|<>]*)")
_ROOTS = (".", "./", "/var/task", "/var/task/", "${LAMBDA_TASK_ROOT}", "${LAMBDA_TASK_ROOT}/", "$LAMBDA_TASK_ROOT")
_WITHOUT_EFFECT = ("LABEL", "MAINTAINER", "EXPOSE", "HEALTHCHECK")


@dataclass(frozen=True, slots=True)
class Built:
    """How a function's image is made.

    handler  without an engine; "" with the Dockerfile
    python   of a handler
    why      why it needs an engine
    """

    handler: str = ""
    python: PythonVersion | None = None
    why: str = ""


def judge_dockerfile(context: Path, text: str, command: str = "") -> Built:
    """How the image of a Dockerfile's text can be made. command: a handler in place of its own."""
    try:
        return _without_engine(context, [*_instructions(text)], command)
    except (ValueError, SourceError) as problem:
        return Built(why=str(problem))


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    for line in _CONTINUED.sub(" ", _COMMENT.sub("", text)).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name:
            yield name.upper(), rest.strip()


def _without_engine(context: Path, instructions: list[tuple[str, str]], command: str) -> Built:
    """Raises ValueError with what it does beyond."""
    base = _BASE.fullmatch(instructions[0][1]) if instructions and instructions[0][0] == "FROM" else None
    if base is None:
        raise ValueError("it is not FROM public.ecr.aws/lambda/python:3.11 to 3.14")
    handler, installs = command, False
    for name, rest in instructions[1:]:
        if name == "COPY":
            _judge_copy(context, rest)
        elif name == "RUN" and (pip := _PIP.fullmatch(rest)):
            _judge_install(pip["options"])
            installs = True
        elif name == "CMD":
            handler = command or _handler(rest)
        elif name == "WORKDIR" and rest in _ROOTS:
            pass
        elif name not in _WITHOUT_EFFECT:
            raise ValueError(f"it has {name} {rest[:80]}".rstrip())
    if installs and not (context / "requirements.txt").is_file():
        raise ValueError("it installs a requirements.txt that is not in its folder")
    if not installs and (context / "requirements.txt").is_file():
        raise ValueError("it does not install the requirements.txt in its folder")
    python = PythonVersion(3, int(base["minor"]))
    found = judge_handler(context, read_rules(context), handler, python)
    if found.errors or found.warnings:
        raise ValueError("; ".join([*found.errors, *found.warnings]))
    return Built(handler, python)


def _judge_copy(context: Path, rest: str) -> None:
    """Raises ValueError unless every file keeps its place relative to the task root."""
    words = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
    *sources, target = [str(word) for word in words]
    root = max((root for root in _ROOTS if target == root or target.startswith(f"{root}/")), key=len, default="")
    inner = target.removeprefix(root).strip("/")
    for source in sources:
        path = source.removeprefix("./").rstrip("/")
        # A folder's files go into the target, not the folder itself.
        keeps = path if (context / path).is_dir() and path != "." else ""
        if source.startswith("--") or "/" in path or (target.startswith("/") and not root) or inner != keeps:
            raise ValueError(f"it has COPY {rest[:80]}, which moves files")


def _judge_install(options: str) -> None:
    words = shlex.split(options)
    while words:
        word = words.pop(0)
        value = words[0] if words else ""
        is_lock = word in ("-r", "--requirement") and value.removeprefix("./") == "requirements.txt"
        if is_lock or (word in ("-t", "--target") and value in _ROOTS):
            words.pop(0)
        elif word not in ("--no-cache-dir", "--upgrade", "-U", "--quiet", "-q"):
            raise ValueError(f"it installs with pip {options[:80]}".rstrip())


def _handler(rest: str) -> str:
    try:
        (handler,) = json.loads(rest)
    except ValueError:
        raise ValueError(f"its CMD is {rest[:80]}") from None
    return str(handler)
