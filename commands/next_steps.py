"""Command lines that can be pasted: what the pipeline calls ``up`` is spelled out for whoever reads it."""

from __future__ import annotations

import os
import re

from commands.context import Context

COMMANDS = (
    "build", "check", "cost", "doctor", "down", "explain", "infra", "invoke", "logs", "plan", "prune", "redrive",
    "releases", "rollback", "status", "submit", "synth", "up", "watch",
)  # fmt: skip
# `up`, `build --update-base`; but not what says already where it goes.
_NAMED = re.compile(rf"`({'|'.join(COMMANDS)})(?=[` ])(?! --(?:environment|target|region) )([^`]*)`")


def program() -> str:
    """How this program is called; ``$TRANSACTION_PIPELINE_PROGRAM`` says so where it is another way than in a clone."""
    return os.environ.get("TRANSACTION_PIPELINE_PROGRAM") or "./bootstrap.py"


def command_line(context: Context, command: str) -> str:
    """A command line of ours that speaks of the same environment."""
    name, _, rest = command.partition(" ")
    parts = [program(), name]
    if context.environment != "dev":
        parts += ["--environment", context.environment]
    if context.target_name != "local":
        parts += ["--target", context.target_name]
    if context.region:
        parts += ["--region", context.region]
    return " ".join([*parts, rest] if rest else parts)


def spelled(context: Context, text: str) -> str:
    """A next step in which every command that is only named, as `up`, is one to be pasted.

    The pipeline knows neither its program nor the options that were given; this is where both are known.
    """
    return _NAMED.sub(lambda found: f"`{command_line(context, found[1] + found[2])}`", text)
