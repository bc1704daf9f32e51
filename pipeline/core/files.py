"""The cache folder, and atomic writes."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pipeline.core.errors import StorageError
from pipeline.core.temporary import sweep, temporary_file


def cache_folder() -> Path:
    """The cache folder: ``$TRANSACTION_PIPELINE_CACHE``, else the user's cache folder. Raises StorageError.

    It is created with mode 0700; an existing one keeps its mode, because it may be shared.
    """
    folder = _cache_place()
    with suppress(OSError):  # it exists, or writing into it says why it cannot be made
        folder.mkdir(mode=0o700, parents=True)
    return folder


def _cache_place() -> Path:
    chosen = os.environ.get("TRANSACTION_PIPELINE_CACHE")
    if chosen:
        return Path(chosen)
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "transaction-pipeline"
    try:
        return Path.home() / ".cache" / "transaction-pipeline"
    except RuntimeError as error:
        raise StorageError(
            "no folder was found for caches", "HOME is not set and this user has no home folder",
            "Set TRANSACTION_PIPELINE_CACHE to a folder.",
        ) from error  # fmt: skip


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises OSError, also for a pipe or a device, which could block forever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, most: int) -> bytes:
    """The content of a regular file. Raises OSError, also for one of more than ``most`` bytes."""
    with open_regular(path) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return content


def read_optional(path: Path, most: int) -> bytes | None:
    """Like ``read_regular``; None if there is no such file. Raises OSError also for a link to a missing file."""
    try:
        return read_regular(path, most)
    except FileNotFoundError:
        if path.is_symlink():
            raise OSError(errno.ENOENT, "it is a link to a missing file", str(path)) from None
        return None


def write_atomically(path: Path, content: bytes, *, make_folders: bool = True) -> None:
    """Replace a file in one step, so that neither a reader nor a crash sees half of it. Creates its folders.

    Removes what writers of the same file left that were killed. Raises OSError, also for a device or a pipe, which
    would be replaced, too.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if make_folders:
        path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.writing-"
    sweep(path.parent, f"{glob.escape(prefix)}????????")
    descriptor, temporary = temporary_file(path.parent, prefix)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            temporary.chmod(0o644)
            temporary.replace(path)  # before it is closed: another writer sweeps a file without an owner
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def storing(place: Path, otherwise: str = "set TRANSACTION_PIPELINE_CACHE to another folder") -> Iterator[None]:
    """Raise StorageError if the block cannot write ``place`` or below it.

    otherwise  an alternative to freeing space there
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error.__class__.__name__
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise StorageError(
            f"{place} could not be written",
            reason[0].lower() + reason[1:],
            "Free some space there" + ("" if full else ", or make the folder writable") + f", or {otherwise}.",
        ) from error
