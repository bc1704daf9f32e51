"""Wrong usage, told on stdout too where the arguments ask for JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from commands.next_steps import program


class Commands(click.Group):
    """The commands. What click refuses goes to ``write`` too, as a document, if --json or --events was given."""

    def __init__(self, *arguments: Any, write: Callable[[str], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._write = write

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        given = tuple(args)
        with self._told(given):
            made = super().make_context(info_name, args, parent, **extra)
        made.meta[__name__] = given
        return made

    def invoke(self, ctx: click.Context) -> Any:
        with self._told(ctx.meta[__name__]):
            return super().invoke(ctx)

    @contextmanager
    def _told(self, arguments: Sequence[str]) -> Iterator[None]:
        try:
            yield
        except click.ClickException as error:
            # The arguments are looked at as they are: of a command line that is wrong nothing better is known.
            options = arguments[: arguments.index("--")] if "--" in arguments else arguments
            if "--json" in options or "--events" in options:
                self._write(json.dumps(_document(error), indent=None if "--events" in options else 2))
            raise


def _document(error: click.ClickException) -> dict[str, Any]:
    context = error.ctx if isinstance(error, click.UsageError) else None
    name = context.info_name if context is not None and context.parent is not None else None
    command = [*shlex.split(program()), *([name] if name else [])]
    return {
        "what": f"{shlex.join(command)} was not run",
        "why": error.format_message().removesuffix("."),
        "next_step": f"Read what it takes: {shlex.join([*command, '--help'])}",
        "commands": [[*command, "--help"]],
    }
