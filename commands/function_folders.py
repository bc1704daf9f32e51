"""Write folders of functions into a project: all of them, or none."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.assembly.sources import LOCK
from pipeline.core.errors import DependencyError, SourceError
from pipeline.core.files import write_atomically
from pipeline.environment.project import IMAGES

WHAT = "no project was written"
# What a folder of code has that is not code.
_LEFT = shutil.ignore_patterns(".git", ".venv", "venv", "node_modules", "__pycache__", ".aws-sam", ".pytest_cache")


@dataclass(frozen=True, slots=True)
class NewFolder:
    """A function's folder.

    source  what it is a copy of; None: only ``files``
    files   written after that, over what is there
    locked  whether its requirements become a lock, if they are none
    """

    name: str
    source: Path | None
    files: Mapping[str, str]
    locked: bool


def write_files(root: Path, files: Mapping[PurePosixPath, bytes]) -> list[str]:
    """Write those files that do not exist; their paths."""
    written = []
    for path, content in files.items():
        if not (root / path).exists() and not (root / path).is_symlink():
            write_atomically(root / path, content)
            written.append(str(path))
    return written


def add_functions(root: Path, folders: Sequence[NewFolder]) -> list[str]:
    """Add folders to ``images``; their paths. Raises SourceError, DependencyError and OSError, and then adds none."""
    images = root / IMAGES
    for each in folders:
        if (images / each.name).exists():
            raise SourceError(WHAT, f"{images / each.name} exists", "Move it away, or choose an empty folder.")
        if each.source is not None and root.resolve().is_relative_to(each.source.resolve()):
            raise SourceError(
                WHAT, f"{each.source} holds the project's own folder", "Write the project beside the code."
            )
    partials = [images / f".{each.name}.partial" for each in folders]
    try:
        for each, partial in zip(folders, partials, strict=True):
            shutil.rmtree(partial, ignore_errors=True)
            _fill(partial, each)
        for each, partial in zip(folders, partials, strict=True):
            partial.replace(images / each.name)
    except BaseException:
        for partial in partials:
            shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):
            images.rmdir()
        raise
    return [f"{IMAGES}/{each.name}" for each in folders]


def _fill(partial: Path, folder: NewFolder) -> None:
    if folder.source is None:
        partial.mkdir(parents=True)
    else:
        shutil.copytree(folder.source, partial, symlinks=True, ignore=_LEFT)
    if folder.locked:
        _lock(partial)
    for name, text in folder.files.items():
        (partial / name).unlink(missing_ok=True)  # a link would be followed
        (partial / name).write_text(text, encoding="utf-8")


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
            WHAT,
            f"uv could not lock the requirements of {function.name.strip('.').removesuffix('.partial')}: "
            f"{' '.join(done.stderr.split())[:500]}",
            "Fix requirements.txt there, and run it again.",
        )
