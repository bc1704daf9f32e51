"""Tools in environments of their own: their dependencies are none of this project's, and are not in its lock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def install(cache: Path, name: str, *requirements: str) -> Path:
    """The folder of programs of an environment with these requirements; made once in ``cache``, as ``name``."""
    folder = cache / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    ready = folder / "ready"
    if not ready.exists():
        print(f"installing {', '.join(requirements)} into {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        uv = Path(sys.executable).with_name("uv")
        # Its own pip: SAM builds with `python -m pip` of the first fitting Python in PATH.
        subprocess.run([uv, "venv", "--quiet", "--seed", "--python", sys.executable, folder], check=True)
        options = ("--quiet", "--compile-bytecode", "--python", folder / "bin" / "python")
        subprocess.run([uv, "pip", "install", *options, *requirements], check=True)
        ready.touch()
    return folder / "bin"


def default_cache() -> Path:
    """The folder of these environments, unless an option names another."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    return (Path(chosen) if chosen else Path.home() / ".cache") / "transaction-pipeline-benchmarks"
