"""Byte code for the modules of a layer, the same for the same modules and the same Python."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipeline.core.children import run_child
from pipeline.core.errors import StorageError

_COMPILE = """
import compileall, py_compile, sys
compileall.compile_dir(sys.argv[1], maxlevels=99, quiet=2, force=True, workers=1, optimize=0,
    stripdir=sys.argv[1], prependdir=sys.argv[2], invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


def compile_tree(root: Path, shipped_at: str) -> None:
    """Write byte code beside every module below ``root``, for modules that will be at ``shipped_at``.

    One fresh process without site packages, with a fixed hash seed and in sorted order: marshal writes what is shared
    in memory as references, and the order of sets, so both must not depend on what ran before. Modules that this
    Python cannot compile are left without. Raises StorageError when it cannot be written.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONHASHSEED"] = "0"
    command = [sys.executable, "-S", "-s", "-B", "-c", _COMPILE, str(root), shipped_at]
    done = run_child(command, environment=environment)
    if done.returncode != 0:
        # Source that does not compile is passed over, so this is the disk.
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or f"status {done.returncode}"
        raise StorageError(f"no byte code was written to {root}", reason, "Free some space, or set byte_code = false.")
