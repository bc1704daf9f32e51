"""The group of commands. With --json or --events wrong usage is also printed as JSON to stdout."""

from __future__ import annotations

import difflib
import importlib
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from commands.declared import Choices, Command
from commands.examples import EXAMPLES
from commands.next_steps import program
from pipeline.core.errors import StorageError

# The modules that declare the commands; each is imported when one of its commands is used.
MODULES: Mapping[str, str] = {
    "init": "starting",
    "up": "releasing",
    "infra": "releasing",
    "build": "building",
    "plan": "history",
    "releases": "history",
    "rollback": "history",
    "promote": "promoting",
    "prune": "history",
    "rehearse": "rehearsing",
    "submit": "running",
    "redrive": "running",
    "explain": "running",
    "cost": "offline",
    "status": "running",
    "console": "console",
    "credentials": "local_credentials",
    "doctor": "doctor",
    "synth": "building",
    "check": "offline",
    "rules": "offline",
    "verify": "proving",
    "why-changed": "proving",
    "verify-workflow": "verifying",
    "down": "releasing",
    "watch": "watching",
    "serve": "watching",
    "logs": "development",
    "invoke": "development",
    "completion": "completing",
}

# The first characters of a word that is longer.
_LONG_WORD = re.compile(r"(\S{200})\S+")
_MESSAGE_MAX = 2_000


def find_command(name: str) -> Command[Any]:
    """The declaration of a command in ``MODULES``."""
    found: Command[Any] = getattr(importlib.import_module(f"commands.{MODULES[name]}"), name.replace("-", "_"))
    return found


@contextmanager
def writing() -> Iterator[None]:
    """Raise StorageError if the block cannot write to stdout, except to a closed pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(
            "the result was not written", error.strerror or str(error), "Free some space, or send it elsewhere."
        ) from error


class _Command(click.Command):
    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Parse the arguments, which may write the help."""
        with writing():
            return super().make_context(*arguments, **more)


class Commands(click.Group):
    """All commands.

    run    called with the command and its parsed options
    write  prints to stdout; called with a document for wrong usage if --json or --events was given
    """

    def __init__(
        self, *arguments: Any, run: Callable[[Command[Any], Choices], None], write: Callable[[str], None], **more: Any
    ) -> None:
        super().__init__(*arguments, **more)
        self._run = run
        self._write = write

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in MODULES:
            return None
        found = find_command(cmd_name).as_click(_Command, self._run)
        found.epilog = f"Example: {program()} {EXAMPLES[cmd_name]}"
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click's, with the nearest command where there is none of this name."""
        close = difflib.get_close_matches(args[0], MODULES, 1)
        if args[0] not in MODULES and close:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close[0]}?")
        return super().resolve_command(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        given = tuple(args)
        with writing(), self._reported(given):
            made = super().make_context(info_name, args, parent, **extra)
        made.meta[__name__] = given
        return made

    def invoke(self, ctx: click.Context) -> Any:
        with self._reported(ctx.meta[__name__]):
            return super().invoke(ctx)

    @contextmanager
    def _reported(self, arguments: Sequence[str]) -> Iterator[None]:
        try:
            yield
        except click.ClickException as error:
            vars(error)["message"] = _bounded(error.message or "")
            # A command line that cannot be parsed still says whether JSON is expected.
            options = arguments[: arguments.index("--")] if "--" in arguments else arguments
            if "--json" in options or "--events" in options:
                self._write(json.dumps(_document(error), indent=None if "--events" in options else 2))
            raise
        except KeyboardInterrupt:  # no command has started, so there is nothing to report
            raise click.exceptions.Exit(130) from None


def _bounded(message: str) -> str:
    """The message without the rest of long words, since it repeats what was given."""
    return _LONG_WORD.sub(r"\1…", message)[:_MESSAGE_MAX]


def _document(error: click.ClickException) -> dict[str, Any]:
    context = error.ctx if isinstance(error, click.UsageError) else None
    name = context.info_name if context is not None and context.parent is not None else None
    words = [*shlex.split(program()), *([name] if name else [])]
    return {
        "what": f"{shlex.join(words)} was not run",
        "why": error.format_message().removesuffix("."),
        "next_step": f"Read what it takes: {shlex.join([*words, '--help'])}",
        "commands": [[*words, "--help"]],
    }
