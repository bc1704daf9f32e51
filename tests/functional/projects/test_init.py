"""``init`` writes a project that is deployed, invoked, changed and deleted by the commands that it prints."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.environment.starter import project_name
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project


@pytest.fixture(scope="module")
def project(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("My Shop"), embedded_aws)
    yield project
    project.run("down", code=(0, 1))


def test_it_writes_a_project_whose_printed_commands_work(project: Project) -> None:
    said = project.run("init").stdout
    files = {str(path.relative_to(project.folder)) for path in project.folder.rglob("*") if path.is_file()}
    assert files == {line.removeprefix("wrote ") for line in said.splitlines() if line.startswith("wrote ")}
    up, invoke = (shlex.split(line)[1:] for line in said.partition("Next:\n")[2].splitlines())
    assert "a smoke event was answered" in project.run(*up).stdout
    assert project.json(*invoke)["result"] == {"greeting": "Hello, smoke!"}


def test_its_test_passes(project: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project.folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout


def test_a_changed_line_is_released(project: Project) -> None:
    handler = project.folder / "images" / "hello" / "handler.py"
    handler.write_text(handler.read_text().replace("Hello, ", "Good morning, "))
    assert project.json("up")["changed"]
    assert project.invoke("hello", {"name": "Ada"}) == {"greeting": "Good morning, Ada!"}


def test_a_project_is_not_overwritten(project: Project) -> None:
    before = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    assert "is a project: it has environments.toml" in project.json("init", code=1)["why"]
    assert {path: path.read_bytes() for path in before} == before
    assert project.json("down")["deleted"]


def test_files_that_exist_are_kept_and_an_interrupted_run_goes_on(tmp_path: Path, embedded_aws: EmbeddedAws) -> None:
    project = Project(tmp_path, embedded_aws)
    project.write("README.md", "mine\n")
    project.write("images/hello/handler.py", "def handle(event, context):\n    return 'mine'\n")
    said = project.json("init")
    assert (tmp_path / "README.md").read_text() == "mine\n"
    assert "README.md" in said["kept"]
    assert "mine" in (tmp_path / "images" / "hello" / "handler.py").read_text()
    assert "environments.toml" in said["written"]


def test_the_root_of_the_file_system_is_no_place_for_a_project(tmp_path: Path, embedded_aws: EmbeddedAws) -> None:
    project = Project(tmp_path, embedded_aws)
    assert "is the root of the file system" in project.json("init", "--project", "/", code=1)["why"]
    (tmp_path / "link").symlink_to("/")
    assert "is the root of the file system" in project.json("init", "--project", "link", code=1)["why"]
    assert not Path("/environments.toml").exists()


def test_code_of_another_tool_is_taken(tmp_path: Path, embedded_aws: EmbeddedAws) -> None:
    """A folder as SAM writes it: lambda_handler in app.py, requirements without hashes."""
    code = Project(tmp_path / "HelloWorld", embedded_aws)
    code.write(
        "app.py", "import jmespath\n\ndef lambda_handler(event, context):\n    return jmespath.search('a', event)\n"
    )
    code.write("requirements.txt", "jmespath\n")
    code.write(".venv/pyvenv.cfg", "")
    project = Project(tmp_path / "shop", embedded_aws)
    project.folder.mkdir()
    assert project.json("init", "--from", "../HelloWorld")["function"] == "helloworld"
    function = project.folder / "images" / "helloworld"
    assert 'handler = "app.lambda_handler"' in (function / "function.toml").read_text()
    assert "--hash=sha256:" in (function / "requirements.txt").read_text()
    assert (function / "requirements.in").read_text() == "jmespath\n"
    assert not (function / ".venv").exists()
    assert (code.folder / "requirements.txt").read_text() == "jmespath\n"
    project.run("synth", "--out", "out")


def test_code_without_a_handler_writes_nothing(tmp_path: Path, embedded_aws: EmbeddedAws) -> None:
    project = Project(tmp_path / "shop", embedded_aws)
    project.write("../code/notes.txt", "")
    assert "no handler that could be guessed" in project.json("init", "--from", "../code", code=1)["why"]
    assert list(project.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("My Shop", "my-shop"), ("2026", "project-2026"), ("transaction", "project-transaction"), ("日本", "project"),
        ("-a--b-", "a-b"), ("x" * 40, "x" * 20), ("nineteen-characters-and-more", "nineteen-characters"),
    ],
)  # fmt: skip
def test_the_name_is_the_folders(folder: str, name: str) -> None:
    assert project_name(folder) == name
