"""Which commit a function's files come from, when that can be said without a lie."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.assembly.ignore import read_context_rules
from pipeline.assembly.model import FunctionSource
from pipeline.core.records import read_record, write_record
from pipeline.oci.values import Digest


class SourceRevisions(Mapping[str, str]):
    """Function → its revision, or "". Git runs in the background; reading a revision waits for it.

    The revision is the last commit that changed what the function is built from, not the newest one: a commit
    elsewhere does not change where the function comes from. It is "" outside a Git repository, in a shallow clone
    (where every file seems to come from its first commit), and while a file that would be shipped is not committed.

    records  a folder that keeps what each head of the repository has answered: a function's history can be long
    """

    def __init__(self, sources: Iterable[FunctionSource], records: Path | None = None) -> None:
        chosen = tuple(sources)
        self._names = tuple(source.name for source in chosen)
        pool = ThreadPoolExecutor(1, thread_name_prefix="revision")
        self._found = pool.submit(_find_revisions, chosen, records)
        pool.shutdown(wait=False)

    @property
    def head(self) -> str:
        """The newest commit when they were looked for; "" outside of a repository."""
        return self._found.result()[0]

    def __getitem__(self, name: str) -> str:
        if name not in self._names:
            raise KeyError(name)
        return self._found.result()[1].get(name, "")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _find_revisions(sources: Sequence[FunctionSource], records: Path | None) -> tuple[str, Mapping[str, str]]:
    """The newest commit, and the revision of each function that has one."""
    if not sources:
        return "", {}
    place = sources[0].folder.parent
    # Side by side: each takes milliseconds, mostly of starting.
    state = _git(place, "rev-parse", "--is-shallow-repository", "--show-toplevel", "HEAD")
    status = _git(place, "status", "--porcelain", "-z", "--untracked-files=all", "--ignored=matching", "--", ".")
    facts, changes = (_answer(state) or "").splitlines(), _answer(status)
    if len(facts) != 3 or facts[0] != "false" or changes is None:
        return facts[2] if len(facts) == 3 else "", {}
    top, head = Path(facts[1]), facts[2]
    changed = list(_changed(changes, top))
    commits = _last_commits(place, top, head, sources, records)
    return head, {
        source.name: commits[source.name]
        for source in sources
        if commits.get(source.name) and not any(_is_input(path, source) for path in changed)
    }


def clean_commit(project: Path, sources: Sequence[FunctionSource], built: SourceRevisions | None = None) -> str:
    """The newest commit, if it alone says what is released from ``project``; else "".

    built  the revisions of the images: a commit made after they were read is not what the images were built from

    Nothing that Git knows may be changed there, since templates and settings are released too, and nothing that it
    does not know may be part of a function, of ``cfn`` or of the settings.
    """
    head = _git(project, "rev-parse", "--show-toplevel", "HEAD")
    status = _git(project, "status", "--porcelain", "-z", "--untracked-files=all", "--ignored=matching", "--", ".")
    facts, changes = (_answer(head) or "").splitlines(), _answer(status)
    if len(facts) != 2 or changes is None or (built is not None and built.head != facts[1]):
        return ""
    if any(field[:2] not in ("??", "!!") for field in changes.split("\0") if field):
        return ""
    inputs = [each for source in sources for each in _inputs(source)]
    definitions = [(source.folder / "function.toml").resolve() for source in sources]
    root = project.resolve()
    for path in _changed(changes, Path(facts[0])):
        if path in definitions or path == root / "environments.toml" or _is_shipped(path, inputs):
            return ""
        if path.is_relative_to(root / "cfn") and "__pycache__" not in path.parts:
            return ""
    return facts[1]


def tree_of(folder: Path, commit: str, records: Path) -> str:
    """The hash of Git's tree of ``folder`` at a commit, remembered in ``records``; "" where Git cannot tell."""
    record = records / f"{Digest.of(json.dumps([commit, str(folder.resolve())]).encode()).hex}-tree.json"
    known = read_record(record)
    if known is not None and isinstance(known.get("tree"), str):
        return str(known["tree"])
    answer = _answer(_git(folder, "rev-parse", "--verify", "--end-of-options", f"{commit}:./"))
    if answer is not None:
        write_record(record, {"tree": answer.strip()})
    return (answer or "").strip()


def _last_commits(
    place: Path, top: Path, head: str, sources: Sequence[FunctionSource], records: Path | None
) -> dict[str, str]:
    """The last commit of each function's inputs; "" for one without. The result of a head never changes."""
    inputs = {source.name: [str(each) for each in _inputs(source)] for source in sources}
    asked = {name: [os.path.relpath(each, top.resolve()) for each in each_of] for name, each_of in inputs.items()}
    key = Digest.of(json.dumps([head, asked], sort_keys=True).encode())
    record = records / f"{key.hex}.json" if records is not None else None
    known = read_record(record) if record is not None else None
    if known is not None and known.keys() == asked.keys():
        return known
    asking = ("log", "-1", "--no-show-signature", "--format=%H", "--")
    logs = {name: _git(place, *asking, *each_of) for name, each_of in inputs.items()}
    answers = {name: _answer(log) for name, log in logs.items()}
    commits = {name: (answer or "").strip() for name, answer in answers.items()}
    if record is not None and all(answer is not None for answer in answers.values()):
        write_record(record, commits)
    return commits


def _inputs(source: FunctionSource) -> list[Path]:
    return [source.code_folder.resolve(), *(each.resolve() for each in source.shared)]


def _changed(porcelain: str, top: Path) -> Iterable[Path]:
    """Every path that differs from the last commit, ignored ones included; a rename names both."""
    fields = iter(porcelain.split("\0"))
    for field in fields:
        if not field:
            continue
        yield _placed(top / field[3:])
        if "R" in field[:2] or "C" in field[:2]:
            yield _placed(top / next(fields, ""))


def _placed(path: Path) -> Path:
    """Where a path lies; a link counts by its own place, wherever it leads, and may lead nowhere."""
    return path.parent.resolve() / path.name


def _is_input(path: Path, source: FunctionSource) -> bool:
    """Whether the image depends on a changed path; which image is copied is written in function.toml."""
    if source.prebuilt is not None and path == source.folder.resolve() / "function.toml":
        return True
    return _is_shipped(path, _inputs(source))


def _is_shipped(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a path would be shipped if it is there; the lock is not shipped, but what it names is."""
    for folder in folders:
        if path == folder:
            return True
        if path.is_relative_to(folder):
            inner = path.relative_to(folder).as_posix()
            return inner in ("requirements.txt", "Dockerfile") or not read_context_rules(folder).ignores(inner)
    return False


def _surroundings() -> dict[str, str]:
    """The environment without what a Git hook finds in it: which repository, seen from another folder than ours."""
    hooks = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")
    return {name: value for name, value in os.environ.items() if name not in hooks}


def _git(place: Path, *arguments: str) -> subprocess.Popen[str] | None:
    try:
        return subprocess.Popen(
            ["git", "-C", str(place), *arguments],
            env={**_surroundings(), "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
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
