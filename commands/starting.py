"""``init``: write a new project."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import click

from commands import VERSION
from commands.context import Context, Outcome
from commands.declared import FilePath, command
from commands.next_steps import INSTALLED, command_line
from pipeline.assembly.ignore import read_rules
from pipeline.assembly.own.entry import guess_handler
from pipeline.assembly.sources import LOCK, MANIFEST
from pipeline.core.errors import DependencyError, SettingsError, SourceError
from pipeline.core.files import storing, write_atomically
from pipeline.environment import starter
from pipeline.environment.project import IMAGES, SETTINGS_FILE

_WHAT = "no project was written"
# What a folder of code has that is not code.
_LEFT = shutil.ignore_patterns(".git", ".venv", "venv", "node_modules", "__pycache__", ".aws-sam", ".pytest_cache")


@command(
    "Write a new project.",
    click.Option(
        ["--from", "source"],
        metavar="FOLDER",
        type=FilePath(exists=True, file_okay=False, path_type=Path),
        help="Take the Python code in this folder for the first function.",
    ),
)
def init(context: Context, *, source: Path | None) -> Outcome:
    """Write a project into the current folder: a function with a test, settings, a workflow for CI and a README.

    Files that exist are kept. With --from the function is a copy of the code there, its dependencies locked.
    """
    root = context.project or Path.cwd()
    if root.resolve() == Path(root.resolve().anchor):
        raise SettingsError(_WHAT, f"{root.resolve()} is the root of the file system", "Make a folder for it.")
    if (root / SETTINGS_FILE).exists():
        raise SettingsError(_WHAT, f"{root} is a project: it has {SETTINGS_FILE}", "Choose an empty folder.")
    with storing(root, "choose another folder"):
        name, written = (starter.FUNCTION, _write_function(root)) if source is None else _copy_function(source, root)
        event = f"{IMAGES}/{name}/events/smoke.json"
        files = starter.project_files(
            starter.project_name(root.resolve().name), name, event=event, program=INSTALLED, version=VERSION
        )
        # The settings come last, so that another run can continue an interrupted one.
        written += _write(root, dict(sorted(files.items(), key=lambda each: each[0].name == SETTINGS_FILE)))
    kept = sorted(str(path) for path in files if str(path) not in written)
    lines = [*(f"wrote {path}" for path in written), *(f"kept {path}" for path in kept)]
    again = [command_line(context, "up"), command_line(context, "invoke", name, event)]
    return Outcome(
        {"project": str(root), "function": name, "written": written, "kept": kept},
        "\n".join([*lines, "", "Next:", *(f"  {line}" for line in again)]),
    )


def _write_function(root: Path) -> list[str]:
    lock = Path(starter.__file__).with_name("starter-requirements.txt").read_bytes()
    below = PurePosixPath(IMAGES, starter.FUNCTION)
    return _write(root, {below / path: content for path, content in starter.function_files(lock).items()})


def _write(root: Path, files: Mapping[PurePosixPath, bytes]) -> list[str]:
    """Write those files that do not exist; their paths."""
    written = []
    for path, content in files.items():
        if not (root / path).exists() and not (root / path).is_symlink():
            write_atomically(root / path, content)
            written.append(str(path))
    return written


def _copy_function(source: Path, root: Path) -> tuple[str, list[str]]:
    """Copy a folder of code, and write what a function needs beside; its name, and what was written."""
    handler = guess_handler(source, read_rules(source))
    if handler is None:
        raise SourceError(
            _WHAT,
            f"{source} has no handler that could be guessed, such as handler.handle or lambda_function.lambda_handler",
            f"Copy the code into {IMAGES}/NAME, and write NAME/{MANIFEST} with its handler.",
        )
    name = re.sub(r"[^a-z0-9]+", "-", source.resolve().name.lower()).strip("-") or starter.FUNCTION
    name = name if name[0].isalpha() else f"function-{name}"
    place = root / IMAGES / name
    if place.exists():
        raise SourceError(_WHAT, f"{place} exists", "Move it away, or choose an empty folder.")
    if root.resolve().is_relative_to(source.resolve()):
        raise SourceError(_WHAT, f"{source} holds the project's own folder", "Write the project beside the code.")
    partial = place.with_name(f".{name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, symlinks=True, ignore=_LEFT)
    _lock(partial)
    if not (partial / MANIFEST).exists():
        (partial / MANIFEST).write_text(f'handler = "{handler}"\nmemory = 512\ntimeout = 30\n')
    partial.replace(place)
    return name, [f"{IMAGES}/{name}"]


def _lock(function: Path) -> None:
    """Give requirements without hashes a lock, and keep them as what it is made from."""
    lock, wanted = function / LOCK, function / "requirements.in"
    if not lock.is_file() or "--hash=" in lock.read_text(encoding="utf-8", errors="replace"):
        return
    if not wanted.exists():
        lock.replace(wanted)
    from uv import find_uv_bin

    done = subprocess.run(
        [find_uv_bin(), "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header",
         "--no-emit-index-url", "--python-version", "3.11", wanted.name, "-o", lock.name],
        cwd=function, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise DependencyError(
            _WHAT,
            f"uv could not lock its requirements: {' '.join(done.stderr.split())[:500]}",
            "Fix requirements.txt there, and run it again.",
        )
