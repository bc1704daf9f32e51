"""Byte code of an unpacked layer, compiled once by the host, so that workers never write into an image."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from pipeline.assembly.model import TASK_ROOT
from pipeline.local.processes import MARK

# A layer of a thousand modules takes two seconds. What is not compiled in time is compiled by each worker.
_SECONDS = 60
# A source is read, never run; one that is made to exhaust the compiler ends it alone.
_COMPILE = f"""\
import resource, runpy
resource.setrlimit(resource.RLIMIT_AS, ({1 << 30}, {1 << 30}))
resource.setrlimit(resource.RLIMIT_CPU, ({_SECONDS}, {_SECONDS}))
runpy.run_module("compileall", run_name="__main__")
"""


def interpreter() -> str:
    """This Python without its virtual environment, so that a function sees its image's packages and no others."""
    base: str = getattr(sys, "_base_executable", "") or sys.executable
    return base


def compile_layer(files: Path, owner: Path) -> None:
    """Compile what a layer has below the task root; modules that do not compile are left to the worker that fails.

    A hash of the source decides whether byte code is valid, so a layer above may replace the source alone. Layers give
    every file the same time, which Python would otherwise go by. ``owner`` is the local folder that ends the compiler.
    """
    task_root = files / TASK_ROOT.lstrip("/")
    if task_root.is_symlink() or not task_root.is_dir():
        return
    options = ["-q", "-q", "--invalidation-mode", "checked-hash"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [interpreter(), "-I", "-S", "-c", _COMPILE, *options, str(task_root)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_SECONDS,
            env={MARK: str(owner)}, check=False,
        )  # fmt: skip
