"""``init``: write a new project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from commands import VERSION
from commands.context import Context, Outcome
from commands.declared import FilePath, command
from commands.function_folders import WHAT, NewFolder, add_functions, write_files
from commands.next_steps import INSTALLED, command_line
from pipeline.assembly.ignore import read_rules
from pipeline.assembly.own.entry import guess_handler
from pipeline.assembly.sources import MANIFEST
from pipeline.core.errors import SettingsError, SourceError
from pipeline.core.files import storing
from pipeline.environment import starter
from pipeline.environment.project import IMAGES, SETTINGS_FILE
from pipeline.environment.resources_file import RESOURCES_FILE

if TYPE_CHECKING:
    from pipeline.sam.sam_project import SamProject


@dataclass(frozen=True, slots=True)
class _Begun:
    """The functions of a new project.

    function  the first one, and ``event``, the arguments that invoke it with one
    defaults  keys of ``environments.toml``
    """

    function: str
    event: tuple[str, ...]
    written: list[str]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    imported: SamProject | None = None


@command(
    "Write a new project.",
    click.Option(
        ["--from", "source"],
        metavar="FOLDER|TEMPLATE",
        type=FilePath(exists=True, path_type=Path),
        help="Take the Python code in this folder for the first function, or the image functions of this SAM template.",
    ),
)
def init(context: Context, *, source: Path | None) -> Outcome:
    """Write a project into the current folder: a function with a test, settings, a workflow for CI and a README.

    Files that exist are kept. With --from FOLDER the function is a copy of the code there, its dependencies locked.
    With --from TEMPLATE the functions, their events and permissions, and the other resources of a SAM template are
    carried over, and from-sam.md lists what is not.
    """
    root = context.project or Path.cwd()
    if root.resolve() == Path(root.resolve().anchor):
        raise SettingsError(WHAT, f"{root.resolve()} is the root of the file system", "Make a folder for it.")
    if (root / SETTINGS_FILE).exists():
        raise SettingsError(WHAT, f"{root} is a project: it has {SETTINGS_FILE}", "Choose an empty folder.")
    with storing(root, "choose another folder"):
        if source is None:
            begun = _write_function(root)
        else:
            begun = _copy_function(source, root) if source.is_dir() else _import_template(source, root)
        files = starter.project_files(
            starter.project_name(root.resolve().name),
            begun.function,
            event=" ".join(begun.event),
            program=INSTALLED,
            version=VERSION,
            defaults=begun.defaults,
        )
        # The settings come last, so that another run can continue an interrupted one.
        ordered = dict(sorted(files.items(), key=lambda each: each[0].name == SETTINGS_FILE))
        written = begun.written + write_files(root, ordered)
    kept = sorted(str(path) for path in files if str(path) not in written)
    lines = [*(f"wrote {path}" for path in written), *(f"kept {path}" for path in kept)]
    notes = begun.imported.notes if begun.imported is not None else ()
    for note in notes:
        lines += ["", f"{note.place}: {note.why}", f"  {note.do}"]
    again = [command_line(context, "up"), command_line(context, "invoke", begun.function, *begun.event)]
    return Outcome(
        {
            "project": str(root),
            "function": begun.function,
            "written": written,
            "kept": kept,
            **(_described(begun.imported) if begun.imported is not None else {}),
        },
        "\n".join([*lines, "", "Next:", *(f"  {line}" for line in again)]),
    )


def _described(imported: SamProject) -> dict[str, Any]:
    return {
        "functions": {each.project.source.logical_id: each.name for each in imported.folders},
        "by_hand": [{"place": each.place, "why": each.why, "do": each.do} for each in imported.notes],
    }


def _write_function(root: Path) -> _Begun:
    lock = Path(starter.__file__).with_name("starter-requirements.txt").read_bytes()
    below = PurePosixPath(IMAGES, starter.FUNCTION)
    written = write_files(root, {below / path: content for path, content in starter.function_files(lock).items()})
    return _Begun(starter.FUNCTION, (f"{below}/events/smoke.json",), written)


def _copy_function(source: Path, root: Path) -> _Begun:
    """Copy a folder of code, and write what a function needs beside."""
    handler = guess_handler(source, read_rules(source))
    if handler is None:
        raise SourceError(
            WHAT,
            f"{source} has no handler that could be guessed, such as handler.handle or lambda_function.lambda_handler",
            f"Copy the code into {IMAGES}/NAME, and write NAME/{MANIFEST} with its handler.",
        )
    name = re.sub(r"[^a-z0-9]+", "-", source.resolve().name.lower()).strip("-") or starter.FUNCTION
    name = name if name[0].isalpha() else f"function-{name}"
    event = f"{IMAGES}/{name}/events/smoke.json"
    files = {} if (source / MANIFEST).exists() else {MANIFEST: f'handler = "{handler}"\nmemory = 512\ntimeout = 30\n'}
    return _Begun(name, (event,), add_functions(root, [NewFolder(name, source, files, locked=True)]))


def _import_template(source: Path, root: Path) -> _Begun:
    from pipeline.sam.sam_project import NOTES_FILE, import_template, notes_text
    from pipeline.sam.sam_template import read_template

    imported = import_template(read_template(source))
    if (root / RESOURCES_FILE).exists():
        raise SettingsError(WHAT, f"{root / RESOURCES_FILE} exists", "Move it away, or choose an empty folder.")
    folders = [
        NewFolder(
            each.name,
            each.project.source.context,
            {MANIFEST: each.text, **({"Dockerfile": each.dockerfile} if each.dockerfile is not None else {})},
            locked=bool(each.built.handler),
        )
        for each in imported.folders
    ]
    files = {PurePosixPath(NOTES_FILE): notes_text(source.name, imported).encode()}
    if imported.resources:
        files[PurePosixPath(RESOURCES_FILE)] = imported.resources.encode()
    written = add_functions(root, folders) + write_files(root, files)
    first = imported.folders[0]
    events = first.project.manifest.get("events", [])
    event = ("--event", events[0]["type"] if events else "http")
    return _Begun(first.name, event, written, imported.defaults, imported)
