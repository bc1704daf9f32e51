"""The command line as its users run it: a process of its own and an embedded AWS of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from pipeline.core.files import cache_folder

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("bootstrap.py", "commands", "cfn", "pipeline", "images", "environments.toml")


def copy_project(folder: Path) -> Path:
    """What a user would edit: the program and its functions in a folder of their own.

    The program is copied with its byte code, or each copy would be compiled once more; "*.pyc.*" is being written.
    """
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            without = "__pycache__" if part == "images" else "*.pyc.*"
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns(without))
        else:
            shutil.copy2(source, folder / part)
    return folder


@dataclass(frozen=True)
class CommandLine:
    """``bootstrap.py`` on an embedded AWS of its own.

    cache  this process's by default: with an empty one each release downloads and compresses all dependencies
    """

    local: Path
    cache: Path = field(default_factory=cache_folder)
    project: Path = ROOT

    def run(self, *arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
            "TRANSACTION_PIPELINE_LOCAL": str(self.local),
            "TRANSACTION_PIPELINE_CACHE": str(self.cache),
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": str(self.local.parent),
            **variables,
        }
        done = subprocess.run(
            [sys.executable, str(self.project / "bootstrap.py"), *arguments],
            cwd=self.project, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *arguments: str, code: int = 0, **variables: str) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code, **variables).stdout)

    def client(self, service: str) -> Any:
        """A boto3 client of the embedded AWS's account root."""
        state = json.loads((self.local / "local.json").read_text())
        return boto3.client(
            service,
            endpoint_url=state["endpoint"],
            region_name=state["region"],
            aws_access_key_id=state["access_key_id"],
            aws_secret_access_key=state["secret_access_key"],
        )
