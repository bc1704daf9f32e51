"""What ``down`` says of what it keeps: commands that reach it, or where it lies."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.functional.command_line import CommandLine


def test_what_is_kept_is_told_with_a_way_to_be_rid_of_it(tmp_path: Path) -> None:
    line = CommandLine(tmp_path / "local")
    for environment in ("one", "two"):
        line.run("infra", "-e", environment)
    said = line.run("down", "-e", "two", "--keep-data").stdout
    assert 'deletes each after eval "$(./bootstrap.py credentials --environment two)":\n' in said
    (command,) = [each for each in said.splitlines() if "delete-table" in each]
    if shutil.which("aws"):
        subprocess.run(
            shlex.split(command),
            env={**os.environ, **line.json("credentials", "-e", "two")},
            check=True,
            timeout=60,
        )
    else:  # what that command does, as far as it says where and what
        endpoint = re.findall(r"--endpoint-url (\S+)", command)
        dynamodb = line.client("dynamodb")
        assert endpoint == [dynamodb.meta.endpoint_url]
        dynamodb.delete_table(TableName=command.split()[-1])
    assert said.endswith("\nNext: ./bootstrap.py up --environment two uses them again\n")
    # The last one takes the embedded AWS with it, so a command would reach nothing.
    last = line.run("down", "-e", "one", "--keep-data").stdout
    assert "\nKept on disk:\n" in last
    assert "aws " not in last
    assert last.endswith(f"uses them again; to delete them, delete {line.local}\n")


@pytest.mark.parametrize("environment", ["dev", "other"])
def test_a_next_step_stays_in_its_environment(tmp_path: Path, environment: str) -> None:
    line = CommandLine(tmp_path / "local")
    error = line.json("status", "-e", environment, code=1)
    option = "" if environment == "dev" else f" --environment {environment}"
    assert error["next_step"] == f"Start it: ./bootstrap.py up{option}"
