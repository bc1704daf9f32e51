"""A project in a folder of its own, worked on by commands as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws


@dataclass(frozen=True)
class Project:
    """A project's folder, and the embedded AWS that its commands use."""

    folder: Path
    aws: EmbeddedAws

    @property
    def variables(self) -> dict[str, str]:
        """Those of a command. Its state is in this folder, whatever a lab of the same process works in."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        kept.pop("TRANSACTION_PIPELINE_LOCAL", None)
        return kept | self.aws.variables

    def run(self, *arguments: str, code: int | Sequence[int] = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "bootstrap.py"), *arguments],
            cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode in ([code] if isinstance(code, int) else code), done.stdout + done.stderr
        return done

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def invoke(self, function: str, event: Any) -> Any:
        return self.json("invoke", function, str(self.write("event.json", json.dumps(event))))["result"]
