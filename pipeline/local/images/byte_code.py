"""Byte code of unpacked layers, compiled once by the host, so that workers never write into an image."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.assembly.model import TASK_ROOT
from pipeline.local.processes import MARK

# A layer of a thousand modules takes two seconds. What is not compiled in time is compiled by each worker.
_SECONDS = 60
# The compiler takes as long to start as about so many modules take to compile; fewer are left to the worker.
_WORTHWHILE = 20
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


def compile_layers(layers: Sequence[Path], owner: Path) -> None:
    """Compile what unpacked layers have below the task root; a module that does not compile is left to the worker.

    A hash of the source decides whether byte code is valid, so a layer above may replace the source alone. Layers give
    every file the same time, which Python would otherwise go by. ``owner`` is the local folder that ends the compiler.
    """
    task_roots = [layer / TASK_ROOT.lstrip("/") for layer in layers]
    places = [str(each) for each in task_roots if each.is_dir() and not each.is_symlink()]
    if sum(name.endswith(".py") for place in places for _, _, names in os.walk(place) for name in names) < _WORTHWHILE:
        return
    options = ["-q", "-q", "--invalidation-mode", "checked-hash"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [interpreter(), "-I", "-S", "-c", _COMPILE, *options, *places],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_SECONDS,
            env={MARK: str(owner)}, umask=0o022, check=False,
        )  # fmt: skip
