"""The files of a new project: one function with its test, settings, a workflow for CI and a README. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath as Path
from typing import Any

import tomli_w

from cfn.names import PROJECT_MAX, UNNAMED
from pipeline.environment.starter_ci import ci_files

FUNCTION = "hello"

_HANDLER = '''\
"""Lambda entry point of hello."""

from aws_lambda_powertools import Logger

logger = Logger(service="hello")


def handle(event, context):
    name = event.get("name", "world")
    logger.info("greeting", extra={"to": name})
    return {"greeting": f"Hello, {name}!"}
'''
_TEST = """\
import runpy
from pathlib import Path

FUNCTION = Path(__file__).parents[1] / "images" / "hello"


def test_it_greets_by_name():
    handle = runpy.run_path(str(FUNCTION / "handler.py"))["handle"]
    assert handle({"name": "you"}, None) == {"greeting": "Hello, you!"}
"""
_FUNCTION_TOML = """\
description = "Greets by name"
handler = "handler.handle"
memory = 512
timeout = 10
"""
_ENVIRONMENTS = """\
[project]
name = "{project}"

[defaults]
{defaults}
[environments.prod]
protect_data = true
"""
_DEFAULTS = {"architecture": "arm64", "python": "3.13"}
_IGNORE = """\
.local/
.venv/
__pycache__/
.pytest_cache/
"""
_README = """\
# {project}

    {program} up          # deploy to an embedded AWS on this machine
    {program} invoke {function} {event}
    {program} watch       # release each saved change
    {program} down        # delete it

A function is a folder in `images/` with a `function.toml`. After a change of its `requirements.in`:
`uv pip compile --universal --generate-hashes requirements.in -o requirements.txt`. For AWS: once
`{program} build --target aws --update-base`, commit `bases.toml`; then `{program} up --target aws`.
"""


def project_name(folder: str) -> str:
    """A name for the project in a folder that is called so.

    >>> project_name("My Orders"), project_name("2026"), project_name("transaction")
    ('my-orders', 'project-2026', 'project-transaction')
    """
    name = re.sub(r"[^a-z0-9]+", "-", folder.lower().encode("ascii", "ignore").decode()).strip("-")
    if not re.match(r"[a-z]", name) or name == UNNAMED:
        name = f"project-{name}".rstrip("-")
    return name[:PROJECT_MAX].rstrip("-")


def function_files(lock: bytes) -> Mapping[Path, bytes]:
    """The files of the first function, below its folder. lock: the hash-locked requirements."""
    return {
        Path("handler.py"): _HANDLER.encode(),
        Path("function.toml"): _FUNCTION_TOML.encode(),
        Path("requirements.in"): b"aws-lambda-powertools\n",
        Path("requirements.txt"): lock,
        Path("events/smoke.json"): b'{"name": "smoke"}\n',
    }


def project_files(
    project: str, function: str, *, event: str, program: str, version: str, defaults: Mapping[str, Any]
) -> Mapping[Path, bytes]:
    """The files around the functions.

    event     the arguments that invoke ``function`` with an event
    defaults  of ``environments.toml``, beside those of a new project
    """
    texts = {
        "README.md": _README, ".gitignore": _IGNORE, "environments.toml": _ENVIRONMENTS,
    }  # fmt: skip
    values = {
        "project": project,
        "function": function,
        "event": event,
        "program": program,
        "version": version,
        "defaults": tomli_w.dumps({**_DEFAULTS, **defaults}),
    }

    def fill(text: str) -> bytes:
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        return text.encode()

    requirements = f"images/{FUNCTION}/requirements.txt" if function == FUNCTION else ""
    texts |= ci_files(program, version, requirements)
    files = {Path(path): fill(text) for path, text in texts.items()}
    return files if function != FUNCTION else {Path("tests/test_hello.py"): _TEST.encode(), **files}
