"""A thousand hostile inputs, in one process whose time and memory bound those of each."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_a_thousand_hostile_inputs_are_explained(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile_inputs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) inputs, (\d+) explained; at most (\d+) MB", done.stdout)
    assert found is not None
    inputs, explained, megabytes = map(int, found.groups())
    assert inputs == explained >= 1000
    assert megabytes <= 200
    assert [line.split()[0] for line in done.stdout.splitlines()[:5]] == [
        "arguments", "files", "transactions", "images", "events",
    ]  # fmt: skip
