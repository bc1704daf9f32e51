"""Temporary files and folders with an owner; those of a killed process are removed by the next one.

The owner holds a lock, which the kernel releases with the process. Creating and sweeping hold a lock on the parent
folder, so that nothing is swept before its owner has locked it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def temporary_folder(place: Path) -> Iterator[Path]:
    """A new folder in ``place``, which must exist; removed afterwards unless it was renamed. Raises OSError."""
    with _locked(place):
        folder = Path(tempfile.mkdtemp(dir=place))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def temporary_file(place: Path, prefix: str) -> tuple[int, Path]:
    """A new file in ``place``, which must exist, open for writing; its owner removes or renames it. Raises OSError."""
    with _locked(place):
        descriptor, name = tempfile.mkstemp(dir=place, prefix=prefix)
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor, Path(name)


def sweep(place: Path, pattern: str = "*") -> None:
    """Remove matching entries of ``place`` without a living owner, as far as possible."""
    if not any(place.glob(pattern)):
        return
    with contextlib.suppress(OSError), _locked(place):
        for left in place.glob(pattern):
            if _is_abandoned(left):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)


def _is_abandoned(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
