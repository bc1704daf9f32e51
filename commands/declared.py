"""How a command is declared: a function of the context, its options as click objects, and its docstring as help."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec

import click

from cfn.names import Names
from commands.context import Context, Outcome
from pipeline.core.errors import SettingsError
from pipeline.environment.personal import PERSONAL, own_environment

P = ParamSpec("P")
# The form of a region's name, such as us-gov-west-1 or eusc-de-east-1.
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}")


# Characters that change how a terminal shows the following text: control characters and directional formatting.
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _judged(kind: click.ParamType[Any], value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
    if isinstance(value, str) and _STEERING.search(value):
        kind.fail(f"{value[:80]!a} has control characters.", param, ctx)
    return value


class Text(click.ParamType[str]):
    """Text that can be printed again."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        judged: str = _judged(self, value, param, ctx)
        return judged


def _judged_path(
    kind: click.ParamType[Any], value: Any, param: click.Parameter | None, ctx: click.Context | None
) -> Any:
    if not value:
        kind.fail("an empty text is not a path.", param, ctx)
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        kind.fail(f"{value[:80]!a} is not a path: it has half of a surrogate pair.", param, ctx)
    return _judged(kind, value, param, ctx)


class FilePath(click.Path):
    """A path that can be printed again."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_judged_path(self, value, param, ctx), param, ctx)


class ReadFile(click.File):
    """A file that is read as bytes; - is standard input."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(_judged_path(self, value, param, ctx), param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message}. Name a file, or - to read standard input.", param, ctx)


class _Environment(click.ParamType[str]):
    name = "environment"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == PERSONAL:
            value = own_environment()
            if not value:
                self.fail("the name of this user cannot be an environment's; choose a name.", param, ctx)
        try:
            return Names(value).environment
        except SettingsError as error:
            self.fail(f"{value!a} cannot be used: {error.why}.", param, ctx)


class _Region(click.ParamType[str]):
    name = "region"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _REGION.fullmatch(value):
            self.fail(f"{value!a} is not the name of a region, such as us-east-1.", param, ctx)
        return value


def flag(name: str, text: str) -> click.Option:
    """An option without a value: True if given."""
    return click.Option([name], is_flag=True, help=text)


def omit(name: str, what: str, text: str) -> click.Option:
    """An option without a value that makes the argument ``what`` False."""
    return click.Option([name, what], is_flag=True, flag_value=False, default=True, help=text)


def file(name: str, text: str, *, exists: bool = False, **more: Any) -> click.Option:
    """An option that names a file."""
    return click.Option(
        [name, *more.pop("names", ())], type=FilePath(exists=exists, dir_okay=False, path_type=Path), help=text
    )


def folder(name: str, text: str, **more: Any) -> click.Option:
    """An option that names a folder."""
    return click.Option([name], type=FilePath(file_okay=False, path_type=Path), help=text, **more)


ENVIRONMENT = _Environment()
REGION = _Region()
SHARED = (
    click.Option(
        ["--project"], metavar="FOLDER", type=FilePath(exists=True, file_okay=False, path_type=Path),
        help="The project; default: the nearest from here up.",
    ),
    click.Option(["--environment", "-e"], metavar="NAME", type=ENVIRONMENT, default="dev", show_default=True,
                 help="me is the user's own."),
    click.Option(["--target"], type=click.Choice(["local", "aws"]), default="local", show_default=True),
    click.Option(
        ["--region"], metavar="REGION", type=REGION,
        help="AWS region; default: the settings', the profile's, locally us-east-1.",
    ),
    click.Option(
        ["--timeout"],
        metavar="SECONDS",
        type=click.IntRange(min=1, max=31_536_000),
        help="Stop after this time, like Ctrl-C; default: never.",
    ),
    click.Option(["--json", "as_json"], is_flag=True, help="One JSON document on stdout."),
    click.Option(
        ["--events"], is_flag=True, help="With --json: every event as a line of JSON before the result."
    ),
)  # fmt: skip
BASE = click.Option(["--base"], metavar="BASE", type=Text(), help="A reference, oci:DIR, docker-daemon:NAME, or empty.")
BUILDER = click.Option(
    ["--builder"],
    type=click.Choice(["layers", "docker"]),
    default="layers",
    show_default=True,
    help="Build layers without a daemon, or each Dockerfile with an engine.",
)
NO_SBOM = omit("--no-sbom", "sbom", "Do not attach a bill of materials to the images.")
RUNTIME = click.Option(
    ["--runtime"],
    type=click.Choice(["process", "docker"]),
    help="Run functions locally as processes or in containers.",
)
SKIP_REHEARSAL = omit("--skip-rehearsal", "rehearsed", "Without the rehearsal that the settings require.")
YES = flag("--yes", "Do not ask before a resource is replaced or deleted.")


@dataclass(frozen=True, slots=True)
class Choices:
    """The parsed options: those shared by all commands, those of the context, and the command's own."""

    environment: str
    target: str
    region: str | None
    as_json: bool
    events: bool
    context: Mapping[str, Any]
    own: Mapping[str, Any]
    timeout: int | None = None
    project: Path | None = None


# Options that become part of the context, with its names for them.
_OF_CONTEXT = {"base": "base", "builder": "builder", "runtime": "chosen_runtime"}


@dataclass(frozen=True)
class Command(Generic[P]):
    """A command; calling it calls its function.

    summary  its line in the list of commands
    drawn    whether progress may be redrawn in place on a terminal
    """

    function: Callable[Concatenate[Context, P], Outcome]
    summary: str
    parameters: tuple[click.Parameter, ...]
    drawn: bool = True

    def __call__(self, context: Context, *arguments: P.args, **options: P.kwargs) -> Outcome:
        return self.function(context, *arguments, **options)

    @property
    def name(self) -> str:
        return self.function.__name__.replace("_", "-")

    def as_click(self, kind: type[click.Command], run: Callable[[Command[Any], Choices], None]) -> click.Command:
        """The command as a ``kind`` of click's; it calls ``run`` with the parsed options."""

        def callback(**options: Any) -> None:
            names = ("project", "environment", "target", "region", "timeout", "as_json", "events")
            shared = {name: options.pop(name) for name in names}
            of_context = {field: options.pop(name) for name, field in _OF_CONTEXT.items() if name in options}
            run(self, Choices(**shared, context=of_context, own=options))

        own = {each.name for each in self.parameters}
        return kind(
            self.name,
            # A command's own parameter replaces the shared one of its name.
            params=[*self.parameters, *(each for each in SHARED if each.name not in own)],
            # The help ends at a form feed; the rest documents the code.
            help=inspect.cleandoc(self.function.__doc__ or "").partition("\f")[0],
            short_help=self.summary,
            callback=callback,
        )


def command(
    summary: str, *parameters: click.Parameter, drawn: bool = True
) -> Callable[[Callable[Concatenate[Context, P], Outcome]], Command[P]]:
    """Declare a function of the context as a command of the same name."""
    return lambda function: Command(function, summary, parameters, drawn)
