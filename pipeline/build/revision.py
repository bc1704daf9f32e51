"""Which commit a function's files come from, when that can be said without a lie."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.build.ignore import read_rules
from pipeline.model import FunctionSource

LABEL = "org.opencontainers.image.revision"


def source_labels(sources: Iterable[FunctionSource]) -> Mapping[str, Mapping[str, str]]:
    """For each function the label with its revision, or none.

    The revision is the last commit that changed what the function is built from, not the newest one: a commit
    elsewhere must not give the function a new digest. There is none outside a Git repository, in a shallow clone
    (where every file seems to come from its first commit), and while a file that would be shipped is not committed.
    """
    chosen = list(sources)
    labels: dict[str, dict[str, str]] = {source.name: {} for source in chosen}
    if not chosen:
        return labels
    # All of them at once: each takes milliseconds, mostly of starting.
    place = chosen[0].folder.parent
    state = _git(place, "rev-parse", "--is-shallow-repository", "--show-toplevel")
    status = _git(place, "status", "--porcelain", "-z", "--untracked-files=all", "--ignored=matching", "--", ".")
    logs = [_git(place, "log", "-1", "--format=%H", "--", *_inputs(source)) for source in chosen]
    shallow, _, top = (_answer(state) or "").strip().partition("\n")
    changes, commits = _answer(status), [_answer(log) for log in logs]
    if shallow != "false" or changes is None:
        return labels
    changed = list(_changed(changes, Path(top)))
    for source, commit in zip(chosen, commits, strict=True):
        folders = [source.folder.resolve(), *(each.resolve() for each in source.shared)]
        if commit and commit.strip() and not any(_is_shipped(path, folders) for path in changed):
            labels[source.name][LABEL] = commit.strip()
    return labels


def _inputs(source: FunctionSource) -> list[str]:
    return [str(source.folder.resolve()), *(str(each.resolve()) for each in source.shared)]


def _changed(porcelain: str, top: Path) -> Iterable[Path]:
    """Every path that differs from the last commit, ignored ones included; a rename names both."""
    fields = iter(porcelain.split("\0"))
    for field in fields:
        if not field:
            continue
        yield (top / field[3:]).resolve()
        if "R" in field[:2] or "C" in field[:2]:
            yield (top / next(fields, "")).resolve()


def _is_shipped(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a path would be shipped if it is there; the lock is not shipped, but what it names is."""
    for folder in folders:
        if path == folder:
            return True
        if path.is_relative_to(folder):
            inner = path.relative_to(folder).as_posix()
            return inner == "requirements.txt" or not read_rules(folder).ignores(inner)
    return False


def _git(place: Path, *arguments: str) -> subprocess.Popen[str] | None:
    try:
        return subprocess.Popen(
            ["git", "-C", str(place), *arguments],
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="surrogateescape",
        )
    except OSError:  # no Git here
        return None


def _answer(process: subprocess.Popen[str] | None) -> str | None:
    if process is None:
        return None
    out, _ = process.communicate()
    return out if process.returncode == 0 else None
