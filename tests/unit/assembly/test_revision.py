"""A revision is said only when it is true, and only changes with what it is about."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.assembly import revision
from pipeline.assembly.revision import SourceRevisions, clean_commit
from pipeline.assembly.sources import find_sources
from tests.unit.assembly.conftest import MakeFolder

Git = Callable[..., str]


@pytest.fixture
def git(images: Path) -> Git:
    def run(*arguments: str) -> str:
        identity = {
            f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        done = subprocess.run(["git", *arguments], cwd=images.parent, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def committed(make_function: MakeFolder, git: Git, images: Path) -> dict[str, str]:
    """Two functions and a shared package, committed one after the other; the commit of each function."""
    (images / "common").mkdir()
    (images / "common" / "__init__.py").touch()
    (images.parent / ".gitignore").write_text("__pycache__/\n*.local\n")
    git("init", "-q")
    commits = {}
    for name in ("one", "two"):
        make_function(name)
        git("add", "-A", ".")
        git("commit", "-q", "-m", name)
        commits[name] = git("rev-parse", "HEAD")
    return commits


def _revisions(images: Path) -> dict[str, str]:
    return dict(SourceRevisions(find_sources(images)))


def test_each_function_has_the_commit_that_changed_it_last(committed: dict[str, str], images: Path) -> None:
    assert _revisions(images) == committed


def test_a_prebuilt_image_comes_from_the_commit_of_its_function_toml(
    make_function: MakeFolder, images: Path, git: Git
) -> None:
    text = f'image = "registry.example/app@sha256:{"a" * 64}"\n'
    folder = make_function("copied", {"function.toml": text, "handler.py": None})
    git("init", "-q")
    git("add", "-A", ".")
    git("commit", "-q", "-m", "copied")
    assert _revisions(images) == {"copied": git("rev-parse", "HEAD")}
    (folder / "function.toml").write_text(text.replace("a" * 64, "b" * 64))
    assert _revisions(images) == {"copied": ""}


def test_a_commit_elsewhere_changes_no_revision(committed: dict[str, str], images: Path, git: Git) -> None:
    (images.parent / "README.md").write_text("words")
    git("add", "-A", ".")
    git("commit", "-q", "-m", "words")
    assert _revisions(images) == committed


def test_a_commit_to_the_shared_package_changes_all_revisions(
    committed: dict[str, str], images: Path, git: Git
) -> None:
    (images / "common" / "money.py").write_text("x = 1\n")
    git("add", "-A", ".")
    git("commit", "-q", "-m", "money")
    assert set(_revisions(images).values()) == {git("rev-parse", "HEAD")}


@pytest.mark.parametrize(
    ("path", "dirty"),
    [
        ("images/one/handler.py", {"one"}),
        ("images/one/new.py", {"one"}),
        ("images/one/ignored.local", {"one"}),
        ("images/one/requirements.txt", {"one"}),
        ("images/common/new.py", {"one", "two"}),
        ("images/one/__pycache__/x.pyc", set()),
        ("images/one/tests/test_x.py", set()),
        ("images/one/.env", set()),
        ("README.md", set()),
    ],
)
def test_only_a_file_that_is_shipped_makes_a_function_dirty(
    committed: dict[str, str], images: Path, path: str, dirty: set[str]
) -> None:
    place = images.parent / path
    place.parent.mkdir(exist_ok=True)
    place.write_text("def handle(event, context): ...\n" if path.endswith(".py") else "")
    assert {name for name, commit in _revisions(images).items() if not commit} == dirty


@pytest.mark.parametrize("target", ["link", "../../elsewhere"])
def test_a_new_link_makes_a_function_dirty_wherever_it_leads(
    committed: dict[str, str], images: Path, target: str
) -> None:
    (images / "one" / "link").symlink_to(target)
    assert _revisions(images) == committed | {"one": ""}


def test_a_hook_says_the_same(
    committed: dict[str, str], images: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", ".git")
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "another-index"))
    assert _revisions(images) == committed


def test_a_heads_answer_is_kept_and_never_outlives_the_head(
    committed: dict[str, str], images: Path, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def counted(place: Path, *arguments: str) -> subprocess.Popen[str] | None:
        asked.append(arguments)
        return git_of(place, *arguments)

    git_of = revision._git
    monkeypatch.setattr(revision, "_git", counted)
    records = tmp_path / "records"

    def revisions() -> dict[str, str]:
        asked.clear()
        return dict(SourceRevisions(find_sources(images), records))

    assert revisions() == committed
    assert [each[0] for each in asked] == ["rev-parse", "status", "log", "log"]
    assert revisions() == committed
    assert [each[0] for each in asked] == ["rev-parse", "status"]
    (images / "two" / "handler.py").write_text("def handle(event, context): return 2\n")
    assert revisions() == committed | {"two": ""}
    git("commit", "-q", "-a", "-m", "two again")
    assert revisions() == committed | {"two": git("rev-parse", "HEAD")}
    (record,) = [each for each in records.iterdir() if git("rev-parse", "HEAD") in each.read_text()]
    record.write_text("{")
    assert revisions() == committed | {"two": git("rev-parse", "HEAD")}


def test_a_shallow_clone_says_nothing(committed: dict[str, str], images: Path, git: Git, tmp_path: Path) -> None:
    git("clone", "-q", "--depth", "1", f"file://{images.parent}", str(tmp_path / "clone"))
    assert _revisions(tmp_path / "clone" / "images") == {"one": "", "two": ""}


def test_a_full_clone_says_the_same(committed: dict[str, str], images: Path, git: Git, tmp_path: Path) -> None:
    git("clone", "-q", f"file://{images.parent}", str(tmp_path / "clone"))
    assert _revisions(tmp_path / "clone" / "images") == committed


def test_outside_a_repository_and_without_git_nothing_is_said(
    make_function: MakeFolder, images: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_function("one")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert _revisions(images) == {"one": ""}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _revisions(images) == {"one": ""}


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("README.md", False),  # Git knows it
        ("images/one/handler.py", False),
        ("images/one/function.toml", False),
        ("images/three/function.toml", False),
        ("images/one/ignored.local", False),
        ("environments.toml", False),
        ("cfn/added.py", False),
        ("cfn/workflow/expressions/added.jsonata", False),
        ("notes.txt", True),
        ("images/one/__pycache__/x.pyc", True),
        ("images/one/tests/test_x.py", True),
        ("cfn/__pycache__/added.pyc", True),
    ],
)
def test_a_release_has_a_commit_when_all_that_decides_it_is_committed(
    committed: dict[str, str], images: Path, git: Git, make_function: MakeFolder, path: str, clean: bool
) -> None:
    project = images.parent
    (project / "README.md").write_text("words")
    git("add", "-A", ".")
    git("commit", "-q", "-m", "words")
    # The functions were last changed by two others.
    assert clean_commit(project, find_sources(images)) == git("rev-parse", "HEAD") not in committed.values()
    if path == "images/three/function.toml":
        make_function("three")
    else:
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        with (project / path).open("a") as file:
            file.write("# \n")
    assert clean_commit(project, find_sources(images)) == (git("rev-parse", "HEAD") if clean else "")


def test_a_release_from_outside_of_a_repository_has_no_commit(make_function: MakeFolder, images: Path) -> None:
    make_function("one")
    assert clean_commit(images.parent, find_sources(images)) == ""


def test_a_renamed_file_is_a_change(committed: dict[str, str], images: Path, git: Git) -> None:
    git("mv", "images/two/handler.py", "images/two/other.py")
    git("mv", "images/two/other.py", "images/two/handler.py")
    assert clean_commit(images.parent, find_sources(images)) == committed["two"]
    git("mv", ".gitignore", "ignored")
    assert clean_commit(images.parent, find_sources(images)) == ""


def test_a_commit_that_came_after_the_build_is_not_the_release_s(
    committed: dict[str, str], images: Path, git: Git
) -> None:
    sources = find_sources(images)
    revisions = SourceRevisions(sources)
    assert clean_commit(images.parent, sources, revisions) == revisions.head == committed["two"]
    git("commit", "-q", "--allow-empty", "-m", "meanwhile")
    assert clean_commit(images.parent, sources, revisions) == ""
