"""Command lines to paste: a command with this program's name and the options of this run."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from cfn.problems import Command, NextStep
from commands.context import Context
from pipeline.core.errors import PipelineError

# The console command of the distribution.
INSTALLED = "transaction-pipeline"


def program_name() -> str:
    """The name in usage lines: the installed command's, or bootstrap.py."""
    return INSTALLED if Path(sys.argv[0]).name == INSTALLED else "bootstrap.py"


def program() -> str:
    """The name of this program: ``$TRANSACTION_PIPELINE_PROGRAM``, the installed command, or its path in a clone."""
    if named := os.environ.get("TRANSACTION_PIPELINE_PROGRAM"):
        return named
    name = program_name()
    return name if name == INSTALLED else _path_to(Path(sys.argv[0]))


def _path_to(script: Path) -> str:
    """The script as a path that works in the current folder: ``./bootstrap.py``, ``../clone/bootstrap.py``."""
    if script.name != "bootstrap.py" or not script.is_file():
        return "./bootstrap.py"
    path = str(script.resolve())
    relative = os.path.relpath(path)
    return min(path, relative, key=len) if relative.startswith("..") else f"./{relative}"


def arguments(context: Context, command: Command) -> list[str]:
    """The command with the context's environment, target and region, as a list of arguments."""
    name, *rest = command
    options = []
    if context.project is not None:
        options += ["--project", str(context.project)]
    if context.environment != "dev" and name != "promote":  # which names its environments
        options += ["--environment", context.environment]
    if context.target_name != "local":
        options += ["--target", context.target_name]
    if context.region:
        options += ["--region", context.region]
    return [*shlex.split(program()), name, *options, *rest]


def command_line(context: Context, *command: str) -> str:
    """``arguments`` as a line for a shell."""
    return shlex.join(arguments(context, command))


def spelled(context: Context, step: NextStep | str) -> str:
    """A next step as text, its commands as lines for a shell."""
    return NextStep.of(step).render(lambda command: command_line(context, *command))


def error_document(context: Context, error: PipelineError) -> dict[str, Any]:
    """An error for --json; ``commands`` are the next step's, each as a list of arguments."""
    return {
        "what": error.what,
        "why": error.why,
        "next_step": spelled(context, error.next_step),
        "commands": [arguments(context, command) for command in error.next_step.commands],
    }
