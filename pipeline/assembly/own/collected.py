"""The files of a folder that ship, and why each of the others does not."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.assembly.ignore import IgnoreRules, read_rules
from pipeline.core.errors import SourceError
from pipeline.oci.tarball import TarEntry

# Files up to this size are read and kept; larger ones are streamed into their layer.
_SMALL = 1 << 20


def collect_files(folder: Path, prefix: str, *, rules: IgnoreRules | None = None) -> list[TarEntry]:
    """What is shipped of a folder, placed below ``prefix``; small files are read.

    rules  what is left out; by default the folder's own and the built-in ones
    Raises SourceError with every file that cannot be shipped: a link that leaves the folder, a name that is not
    portable, a pipe or a device, something unreadable.
    """
    rules = rules if rules is not None else read_rules(folder)
    entries: list[TarEntry] = []
    problems: list[str] = []
    for path, entry in _walk(folder, rules, "", problems):
        problem = _judge_name(path) or _judge_kind(folder, path, entry)
        if problem is not None:
            problems.append(problem)
            continue
        try:
            entries.append(_entry(folder, path, entry, prefix))
        except OSError as error:
            problems.append(f"{path} cannot be read ({error.strerror})")
    problems += _case_twins(entries, prefix)
    links = {entry.path: entry.target for entry in entries if entry.kind == "symlink"}
    places = {entry.path for entry in entries} | {f"{prefix}/{each}" for each in _parents(entries, prefix)}
    for path, target in links.items():
        end = os.path.normpath(os.path.join(os.path.dirname(path), target))  # noqa: PTH118, PTH120 — text, not a file
        if end not in places:
            problems.append(f"{path.removeprefix(prefix + '/')} links to {target}, which is not shipped")
    if problems:
        raise SourceError(
            f"{folder.name} was not packed",
            "; ".join(problems),
            f"Fix or remove them, or name them in {folder.name}/.dockerignore.",
        )
    return entries


def _walk(folder: Path, rules: IgnoreRules, below: str, problems: list[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder / below) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        problems.append(f"{below or folder} cannot be listed ({error.strerror})")
        return
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        ignored = rules.ignores(path)
        if entry.is_dir(follow_symlinks=False):
            if not ignored or rules.takes_back:
                yield from _walk(folder, rules, path, problems)
        elif not ignored:
            yield path, entry


def _judge_name(path: str) -> str | None:
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"{os.fsencode(path)!r} is not named in UTF-8"
    if any(unicodedata.category(char) == "Cc" for char in path) or "\\" in path:
        return f"{path!r} has a control character or a backslash in its name"
    return None


def _judge_kind(folder: Path, path: str, entry: os.DirEntry[str]) -> str | None:
    if entry.is_symlink():
        target = Path(entry.path).readlink()
        try:
            end = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):
            return f"{path} links to {target}, which does not exist"
        if target.is_absolute() or not end.is_relative_to(folder.resolve()):
            return f"{path} links to {target}, out of the folder"
        return None
    if not entry.is_file(follow_symlinks=False):
        return f"{path} is neither a file nor a folder"
    return None


def _entry(folder: Path, path: str, entry: os.DirEntry[str], prefix: str) -> TarEntry:
    place = f"{prefix}/{path}"
    if entry.is_symlink():
        return TarEntry(place, "symlink", target=Path(entry.path).readlink().as_posix())
    status = entry.stat(follow_symlinks=False)
    executable = bool(status.st_mode & stat.S_IXUSR)
    if status.st_size > _SMALL:
        with open(entry.path, "rb"):  # noqa: PTH123 — only to learn now whether it can be read
            return TarEntry(place, "file", folder / path, status.st_size, executable)
    content = (folder / path).read_bytes()
    return TarEntry(place, "file", content, len(content), executable)


def _case_twins(entries: Iterable[TarEntry], prefix: str) -> Iterator[str]:
    """Names that are one name where case or Unicode form does not count: such a checkout has only one of them."""
    seen: dict[str, str] = {}
    for entry in entries:
        parts = entry.path.removeprefix(prefix + "/").split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            other = seen.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
            if other != path:
                yield f"{path} and {other} are one name on machines that do not tell case apart"
                break


def _parents(entries: Iterable[TarEntry], prefix: str) -> set[str]:
    found = set()
    for entry in entries:
        parts = entry.path.removeprefix(prefix + "/").split("/")
        found |= {"/".join(parts[:count]) for count in range(1, len(parts))}
    return found
