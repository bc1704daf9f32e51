"""Byte code of Python's own library, shared by all images of a local folder.

A worker keeps its byte code apart from its image (``PYTHONPYCACHEPREFIX``), and Python then looks there for its own
library's, too. Without this every new image would compile a hundred modules that every other image has compiled.
"""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
from pathlib import Path

from pipeline.core.files import write_atomically

# What no function imports, and what is large.
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo",
             "ensurepip", "distutils", "pydoc_data", "unittest", "lib-dynload", "__pycache__"}  # fmt: skip


def share_library(byte_code: Path, shared: Path) -> None:
    """Make the library's part of an image's new folder ``byte_code`` lead to ``shared``, where workers write too."""
    place = byte_code / _library().relative_to("/")
    shared.mkdir(exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(shared)


def fill_library(shared: Path) -> None:
    """Copy what this Python has of its library's byte code, so that the very first workers start fast, too.

    What is missing is compiled by who needs it. Files appear whole: a worker may be reading already. A folder that
    somebody removes meanwhile stays removed.
    """
    library, tag = _library(), sys.implementation.cache_tag
    shared.mkdir(exist_ok=True)
    for folder, below, _ in os.walk(library):
        below[:] = sorted(set(below) - _LEFT_OUT)
        place = shared / os.path.relpath(folder, library)
        with contextlib.suppress(OSError):
            place.mkdir(exist_ok=True)
            found = [each for each in os.listdir(f"{folder}/__pycache__") if each.endswith(f".{tag}.pyc")]  # noqa: PTH208
            for name in found:
                if not (place / name).exists():
                    content = Path(folder, "__pycache__", name).read_bytes()
                    write_atomically(place / name, content, make_folders=False)


def _library() -> Path:
    """The folder of the standard library, as the interpreter of the workers calls it."""
    return Path(sysconfig.get_path("stdlib"))
