"""The commands of docs/tutorial.md, run as they are printed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws

PAGE = (ROOT / "docs" / "tutorial.md").read_text()


def test_the_tutorial_works_as_printed(embedded_aws: EmbeddedAws, tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    program = shlex.join([sys.executable, str(ROOT / "bootstrap.py")])
    script = "\n".join(["set -e", f'transaction-pipeline() {{ {program} "$@"; }}', *blocks])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=kept | embedded_aws.variables,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = re.findall(r"`(\w[\w ]*, smoke!)`", PAGE)
    assert answers == ["Hello, smoke!", "Good morning, smoke!"]
    assert all(f'"greeting": "{answer}"' in done.stdout for answer in answers)
    for named in ("HelloQueue", "HelloFailures", "HelloFailuresKept"):
        assert named in done.stdout
    assert "deleted shop-pipeline-dev" in done.stdout
