"""The CI files of a new project: the same steps on both services, and scripts that do what they say in a shell."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml

from pipeline.environment.starter_ci import GITHUB, GITLAB, ci_files

FILES = ci_files("transaction-pipeline", "1.2.3", "images/hello/requirements.txt")


def parsed(path: str) -> Any:
    return yaml.load(FILES[path], yaml.BaseLoader)  # reads every scalar as text: `on` is a key


def scripts(path: str) -> list[str]:
    """Every line that a shell runs."""
    if path == GITHUB:
        steps = parsed(path)["jobs"]["deploy"]["steps"]
        return [step["run"] for step in steps if "run" in step]
    jobs = [each for each in parsed(path).values() if isinstance(each, dict)]
    return [line for job in jobs for key in ("before_script", "script") for line in job.get(key, [])]


@pytest.mark.parametrize("path", [GITHUB, GITLAB])
def test_both_test_plan_and_release_with_a_pinned_version(path: str) -> None:
    said = "\n".join(scripts(path))
    for step in (
        "pip install 'transaction-pipeline==1.2.3'", "pip install -r images/hello/requirements.txt pytest",
        "transaction-pipeline plan $RELEASE > plan.txt || test $? = 2", "transaction-pipeline up $RELEASE",
    ):  # fmt: skip
        assert step in said
    assert "--environment prod --target aws" in FILES[path]
    assert not any(word in FILES[path] for word in ("PROGRAM", "VERSION", "REQUIREMENTS", "_TESTS"))


@pytest.mark.parametrize("path", [GITHUB, GITLAB])
def test_imported_functions_have_no_tests_to_run(path: str) -> None:
    text = ci_files("transaction-pipeline", "1.2.3", "")[path]
    assert yaml.safe_load(text)
    assert "pytest" not in text


@pytest.mark.parametrize("path", [GITHUB, GITLAB])
def test_every_line_is_one_that_a_shell_reads(path: str) -> None:
    for line in scripts(path):
        subprocess.run(["bash", "-n", "-c", line.replace("${{ github.event.number }}", "7")], check=True)


@pytest.mark.parametrize(("path", "schema"), [(GITHUB, "vendor.github-workflows"), (GITLAB, "vendor.gitlab-ci")])
@pytest.mark.parametrize("requirements", ["", "images/hello/requirements.txt"])
def test_each_is_what_its_service_s_schema_describes(tmp_path: Path, path: str, schema: str, requirements: str) -> None:
    file = tmp_path / "ci.yml"
    file.write_text(ci_files("transaction-pipeline", "1.2.3", requirements)[path])
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    file.write_text(file.read_text().replace("rules:", "rule:").replace("runs-on:", "runs:"))
    assert subprocess.run(check, capture_output=True, check=False).returncode == 1


def test_gitlab_has_an_identity_token_only_where_aws_is_called() -> None:
    jobs = parsed(GITLAB)
    assert jobs[".aws"]["id_tokens"] == {"AWS_TOKEN": {"aud": "$CI_SERVER_URL"}}
    assert [name for name, each in jobs.items() if isinstance(each, dict) and each.get("extends") == ".aws"] == [
        "plan",
        "up",
        "expired",
    ]
    assert "extends" not in jobs["test"]
    assert jobs["up"]["resource_group"] == "prod"  # one deployment at a time
    # A schedule runs on the default branch, too.
    assert jobs["up"]["rules"] == [
        {"if": '$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH && $CI_PIPELINE_SOURCE != "schedule"'}
    ]
    assert jobs["expired"]["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "schedule"'}]


class _Notes(BaseHTTPRequestHandler):
    """Keeps what is posted, as GitLab's notes API gets it."""

    got: list[tuple[str, str, str]]

    def do_POST(self) -> None:
        body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["body"][0]
        self.got.append((self.path, self.headers["PRIVATE-TOKEN"], body))
        self.send_response(201 if self.headers["PRIVATE-TOKEN"] == "right" else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def notes() -> Iterator[HTTPServer]:
    _Notes.got = []
    server = HTTPServer(("127.0.0.1", 0), _Notes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def plan(place: Path, notes: HTTPServer, *, code: int, token: str) -> int:
    """Run GitLab's job ``plan`` with a program that prints a plan and exits with ``code``."""
    program = place / "transaction-pipeline"
    program.write_text(f"#!/bin/sh\necho \"1 change: it's 'new' & 100% ($*)\"\nexit {code}\n")
    program.chmod(0o755)
    variables = {
        "PATH": f"{place}:{os.environ['PATH']}", "PLAN_TOKEN": token, "CI_PROJECT_ID": "5", "CI_MERGE_REQUEST_IID": "9",
        "CI_API_V4_URL": f"http://127.0.0.1:{notes.server_port}/api/v4",
        "RELEASE": parsed(GITLAB)["variables"]["RELEASE"],
        "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    script = "\n".join(parsed(GITLAB)["plan"]["script"])
    # GitLab's runner stops at the first command that fails.
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script], cwd=place, env=variables, capture_output=True, check=False
    ).returncode


@pytest.mark.parametrize("code", [0, 2])
def test_a_plan_becomes_a_note(tmp_path: Path, notes: HTTPServer, code: int) -> None:
    assert plan(tmp_path, notes, code=code, token="right") == 0
    said = "```\n1 change: it's 'new' & 100% (plan --environment prod --target aws)\n```\n"
    assert _Notes.got == [("/api/v4/projects/5/merge_requests/9/notes", "right", said)]


def test_without_a_token_the_plan_is_in_the_log_only(tmp_path: Path, notes: HTTPServer) -> None:
    assert plan(tmp_path, notes, code=2, token="") == 0
    assert _Notes.got == []


def test_a_plan_that_fails_and_a_note_that_is_refused_fail_the_job(tmp_path: Path, notes: HTTPServer) -> None:
    assert plan(tmp_path, notes, code=1, token="right") != 0
    assert _Notes.got == []
    assert plan(tmp_path, notes, code=2, token="wrong") != 0
