"""Debian's ``docker-registry`` (the CNCF distribution registry 2.8) as a child process on loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = "/usr/bin/docker-registry"
USER, PASSWORD = "user", "secret"
_BCRYPT = "$2b$04$BfwtRHkVMHhFwYqL/H7sRu8CArURCH.YwPXYiO00cvWO2IxACVyDW"


@dataclass(frozen=True)
class DebianRegistry:
    host: str
    log: Path

    @property
    def requests(self) -> list[str]:
        """``METHOD /path?query`` of each request so far; the registry writes one line for each."""
        lines = self.log.read_text().splitlines()
        return [line.split('"')[1].removesuffix(" HTTP/1.1") for line in lines if " HTTP/1.1" in line and '] "' in line]


def needs(program: str) -> pytest.MarkDecorator:
    """Skips where ``program`` is not installed; CI installs it: docker-registry, skopeo and umoci are in Debian."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program} (apt-get install {program})")


@contextmanager
def debian_registry(folder: Path, *, login: bool = False) -> Iterator[DebianRegistry]:
    """The registry with its state in ``folder``; it ends with the block, or with this process."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    settings: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": host},
    }
    if login:
        (folder / "htpasswd").write_text(f"{USER}:{_BCRYPT}\n")
        settings["auth"] = {"htpasswd": {"realm": "loopback", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
    log = folder / "registry.log"
    command = [PROGRAM, "serve", str(folder / "config.yml")]
    with log.open("wb") as output:
        # The kernel ends the registry should this process be killed.
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdout=output, stderr=output)
    try:
        _wait(host, process, log)
        yield DebianRegistry(host, log)
    finally:
        process.kill()
        process.wait()


def _wait(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://{host}/v2/", timeout=2).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"docker-registry did not start: {log.read_text()[-2000:]}")
