"""The wheel alone is the whole program: what is installed needs nothing of the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functional.command_line import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]
PROGRAM = "transaction-pipeline"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content; its dependencies are those of this interpreter."""
    folder = tmp_path_factory.mktemp("installed")
    uv = str(Path(sys.executable).with_name("uv"))
    # From a copy: a build leaves folders behind, and takes what an earlier one left.
    for part in ("bootstrap.py", "cfn", "commands", "pipeline", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / "source" / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / "source").mkdir(exist_ok=True)
            shutil.copy(ROOT / part, folder / "source")
    subprocess.run(
        [uv, "build", "--quiet", "--wheel", "-o", folder / "dist", folder / "source"], check=True, timeout=120
    )
    (wheel,) = (folder / "dist").glob("*.whl")
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", folder / "site", wheel],
        check=True, timeout=60,
    )  # fmt: skip
    return folder / "site"


@pytest.fixture
def run(site: Path, tmp_path: Path) -> Run:
    def call(*arguments: str, code: int = 0, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-P", str(site / "bin" / PROGRAM), *arguments],
            cwd=cwd, env=os.environ | {"PYTHONPATH": str(site), "TRANSACTION_PIPELINE_CACHE": str(tmp_path / "cache")},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


def test_an_empty_folder_is_no_project(run: Run) -> None:
    error = json.loads(run("status", "--json", code=1).stdout)
    assert error["what"] == "no project was found"


def test_the_program_goes_by_its_installed_name(run: Run) -> None:
    assert run("--help").stdout.startswith(f"Usage: {PROGRAM} ")
    error = json.loads(run("plan", "--bogus", "--json", code=2).stdout)
    assert error["commands"] == [[PROGRAM, "plan", "--help"]]


def test_templates_of_a_project_elsewhere(run: Run, tmp_path: Path) -> None:
    """Needs every data file of the package: expressions, the definition, prices."""
    folder = tmp_path / "project"
    (folder / "images").mkdir(parents=True)
    shutil.copy(ROOT / "environments.toml", folder)
    for function in (ROOT / "images").iterdir():
        (folder / "images" / function.name).symlink_to(function)
    run("synth", "--out", str(tmp_path / "out"), cwd=folder)
    run("synth", "--project", str(folder), "--out", str(tmp_path / "again"))
    assert (tmp_path / "out" / "pipeline.json").read_bytes() == (tmp_path / "again" / "pipeline.json").read_bytes()
    assert run("cost", "--json", cwd=folder).stdout


def test_the_rules_are_a_folder_for_cfn_lint(run: Run, site: Path, tmp_path: Path) -> None:
    folder = run("rules").stdout.strip()
    assert Path(folder) == site / "cfn" / "rules"
    template = tmp_path / "template.json"
    bucket = {"Type": "AWS::Lambda::Function", "Properties": {
        "PackageType": "Image", "Role": "arn:aws:iam::123456789012:role/any",
        "Code": {"ImageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/any:latest"},
    }}  # fmt: skip
    template.write_text(json.dumps({"Resources": {"Function": bucket}}))
    lint = str(Path(sys.executable).with_name("cfn-lint"))
    done = subprocess.run([lint, "-a", folder, "-t", str(template)], capture_output=True, text=True)
    assert "W9530" in done.stdout
