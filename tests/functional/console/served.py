"""A console that runs as a process, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.functional.browser import Browser, Page
from tests.functional.command_line import ROOT
from tests.functional.workflow_lab import ACCESS, Lab


@dataclass
class Served:
    """A console that runs. url: with the ticket; base: without a path."""

    process: subprocess.Popen[str]
    url: str

    @property
    def base(self) -> str:
        return self.url.partition("/open")[0]

    def enter(self, browser: Browser) -> Page:
        page = browser.page()
        page.open(self.url)
        page.wait(f"location.href === {json.dumps(self.base + '/')} && document.readyState === 'complete'")
        return page


@contextlib.contextmanager
def serve_console(variables: Mapping[str, str], folder: Path, *options: str) -> Iterator[Served]:
    """``bootstrap.py console`` of the project in ``folder``; Ctrl-C ends it."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "bootstrap.py"), "console", "--no-browser", *options],
        cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        url = process.stderr.readline().strip()
        assert url.startswith("http://127."), url + process.stderr.read()
        assert process.stderr.readline() == "Ctrl-C ends it.\n"
        yield Served(process, url)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
        assert (process.returncode, output, errors) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


def console_of(lab: Lab, *options: str) -> contextlib.AbstractContextManager[Served]:
    """A console about the lab's workflow."""
    variables = {
        "TRANSACTION_PIPELINE_ENDPOINT": lab.endpoint,
        "TRANSACTION_PIPELINE_ACCESS_KEY_ID": ACCESS.root.access_key_id,
        "TRANSACTION_PIPELINE_SECRET_ACCESS_KEY": ACCESS.root.secret_access_key,
        "TRANSACTION_PIPELINE_LOCAL": str(lab.folder / "local"),
    }
    return serve_console({**os.environ, **variables}, ROOT, "--environment", "lab", *options)
