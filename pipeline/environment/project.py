"""Where a project is: the folder with ``environments.toml`` and the functions below ``images/``."""

from __future__ import annotations

from pathlib import Path

from pipeline.assembly.sources import looks_like_functions
from pipeline.core.errors import NextStep, SettingsError

SETTINGS_FILE = "environments.toml"
IMAGES = "images"


def find_project(start: Path) -> Path:
    """The nearest project from ``start`` up: a folder with ``environments.toml``, or with a function in ``images/``.

    A folder above ``start`` that belongs to another user than ``start`` is not taken: what it holds is built and run
    (git's safe.directory guards against the same).

    Raises SettingsError where there is none.
    """
    what = "no project was found"
    try:
        place = start.resolve(strict=True)
        owner = place.stat().st_uid
        for folder in (place, *place.parents):
            # Below the root everything is: a folder images there is no project around all others.
            if folder == Path(folder.anchor) or not _is_project(folder):
                continue
            if folder.stat().st_uid not in (owner, 0):
                raise SettingsError(
                    what,
                    f"{folder} belongs to another user than {place}",
                    f"If you trust it, name it: --project {folder}",
                )
            return folder
    except OSError as problem:
        raise SettingsError(what, f"{start} cannot be read ({problem.strerror})", "Change to another folder.") from None
    raise SettingsError(
        what,
        f"neither {place} nor a folder above it has {SETTINGS_FILE} or functions in {IMAGES}/",
        NextStep("Change to the project's folder, name it with --project, or write a new one here", ("init",)),
    )


def _is_project(folder: Path) -> bool:
    return (folder / SETTINGS_FILE).is_file() or looks_like_functions(folder / IMAGES)
