"""Layers onto the disk, without trusting them.

A layer is unpacked once, under its diff id, and image trees are linked together from unpacked layers, so an image that
differs in one small layer costs that layer. Nothing an archive says leads out of its folder: no absolute or climbing
path, no entry through a link, no link whose target is outside, no device, and no more bytes or entries than allowed.

Sources: OCI image specification, "Image Layer Filesystem Changeset" (whiteouts, entry types).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import posixpath
import shutil
import stat
import tarfile
from pathlib import Path
from typing import Any

# Lambda takes images of at most 10 GB uncompressed (AWS documentation).
UNPACKED_MAX = 10 * 1024**3
ENTRIES_MAX = 200_000
_CHUNK = 1 << 20
# tarfile reads an extended header at once; no honest one comes near this.
_READ_MAX = 8 << 20
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class UnsafeLayer(ValueError):
    """A layer that leads out of its folder, holds what is no file, or is larger than allowed."""


class _BoundedReads(io.BufferedReader):
    """A file that refuses to be read in pieces that would fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or size > _READ_MAX:
            raise UnsafeLayer(f"an extended header of {size} bytes")
        return super().read(size)


def unpack_layer(archive: Path, folder: Path, *, bytes_max: int = UNPACKED_MAX) -> int:
    """Unpack an uncompressed tar into ``folder`` (which must not exist); returns the bytes written.

    ``folder/files`` holds the tree, ``folder/whiteouts.json`` what the layer removes from those below it.
    Raises UnsafeLayer, or tarfile.TarError for what is no archive.
    """
    tree = _Tree(folder / "files")
    removed: list[str] = []
    opaque: list[str] = []
    written = 0
    with _BoundedReads(io.FileIO(archive)) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        for number, member in enumerate(tar):
            if number >= ENTRIES_MAX:
                raise UnsafeLayer(f"more than {ENTRIES_MAX} entries")
            path = _inner_path(member.name)
            if not path:
                continue
            parent, _, name = path.rpartition("/")
            if name == _OPAQUE:
                opaque.append(parent)
            elif name.startswith(_WHITEOUT):
                gone = name.removeprefix(_WHITEOUT)
                if gone in ("", ".", ".."):  # the last is the folder above: of a path, this is checked before
                    raise UnsafeLayer(f"the whiteout {path!r} names nothing inside of its folder")
                removed.append(posixpath.join(parent, gone))
            else:
                written += tree.write(tar, member, path, bytes_max - written)
    (folder / "whiteouts.json").write_text(json.dumps({"removed": removed, "opaque": opaque}))
    return written


def _inner_path(name: str) -> str:
    """``./var/task/`` → ``var/task``; the root is "". Raises UnsafeLayer for a path that climbs."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnsafeLayer(f"the path {name!r} climbs out of the layer")
    return "/".join(parts)


class _Tree:
    """The tree of one layer, as it grows."""

    def __init__(self, files: Path) -> None:
        files.mkdir(parents=True)
        self._files = files
        # Real folders, so that each file does not look at all that is above it again.
        self._folders = {""}

    def write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, bytes_left: int) -> int:
        """Write one entry; returns its bytes. Said twice, the last one counts."""
        self._make_folder(path if member.isdir() else posixpath.dirname(path))
        if member.isdir():
            return 0
        target = self._files / path
        if member.isreg():
            try:
                return _write_file(tar, member, target, bytes_left)
            except FileExistsError:
                self._remove(path)
                return _write_file(tar, member, target, bytes_left)
        self._remove(path)
        if member.issym():
            target.symlink_to(inner_target(path, member.linkname))
        elif member.islnk():
            source = self._files / _inner_path(member.linkname)
            if not _is_real(self._files, source) or not source.is_file():
                raise UnsafeLayer(f"the hard link {path!r} leads to {member.linkname!r}, which is no file before it")
            os.link(source, target)
        else:
            raise UnsafeLayer(f"{path!r} is a device or a pipe")
        return 0

    def _make_folder(self, path: str) -> None:
        if path in self._folders:
            return
        self._make_folder(posixpath.dirname(path))
        here = self._files / path
        try:
            here.mkdir()
        except FileExistsError:
            mode = here.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise UnsafeLayer(f"{path!r} goes through a link") from None
            if not stat.S_ISDIR(mode):
                raise UnsafeLayer(f"{path!r} goes through a file") from None
        self._folders.add(path)

    def _remove(self, path: str) -> None:
        _remove(self._files / path)
        if path in self._folders:
            self._folders = {each for each in self._folders if each != path and not each.startswith(f"{path}/")}


def _write_file(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, bytes_left: int) -> int:
    """Raises FileExistsError when something is there, a link that leads nowhere included."""
    content = tar.extractfile(member)
    if content is None:
        raise UnsafeLayer(f"{member.name!r} has no content")
    count = 0
    with content, target.open("xb") as file:
        while chunk := content.read(_CHUNK):
            count += len(chunk)
            if count > bytes_left:
                raise UnsafeLayer("more bytes than an image may have")
            file.write(chunk)
        # Read-only, as on Lambda; and linked into several trees, so a change would be a change to all of them.
        os.fchmod(file.fileno(), 0o555 if member.mode & 0o111 else 0o444)
    # Byte code that an image brings is valid for the time of its source only.
    with contextlib.suppress(OSError, OverflowError, ValueError):
        os.utime(target, (member.mtime, member.mtime))
    return count


def _is_real(files: Path, path: Path) -> bool:
    """Whether no component of the path below ``files`` is a link."""
    here = files
    for part in path.relative_to(files).parts:
        here = here / part
        if here.is_symlink():
            return False
    return True


def inner_target(path: str, target: str) -> str:
    """A symbolic link's target, made relative and normal, so that it means the same in any folder.

    Absolute targets mean the image's root. In the result no ``..`` follows a name, so it cannot climb through another
    link. Raises UnsafeLayer when it leaves the root.

    >>> inner_target("usr/bin/python", "/usr/local/bin/python3")
    '../local/bin/python3'
    """
    folder = posixpath.dirname(path)
    inside = posixpath.normpath(target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target))
    if inside == ".." or inside.startswith("../"):
        raise UnsafeLayer(f"the link {path!r} leads out of the image, to {target!r}")
    return posixpath.relpath(inside, folder or ".")


def merge_layers(layers: list[Path], root: Path) -> None:
    """Make the tree of an image out of unpacked layers, lowest first. Files are hard links into the layers."""
    root.mkdir(parents=True)
    for layer in layers:
        whiteouts: dict[str, Any] = json.loads((layer / "whiteouts.json").read_text())
        for path in whiteouts["opaque"]:
            folder = root / path
            if _is_real(root, folder) and folder.is_dir():
                for child in folder.iterdir():
                    _remove(child)
        for path in whiteouts["removed"]:
            if _is_real(root, (root / path).parent):
                _remove(root / path)
        _link_tree(str(layer / "files"), str(root))


def _link_tree(source: str, target: str) -> None:
    # Strings, and no look before the leap: a function's start waits for hundreds of these.
    with os.scandir(source) as entries:
        for entry in entries:
            place = f"{target}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                try:
                    os.mkdir(place)  # noqa: PTH102
                except FileExistsError:
                    if not stat.S_ISDIR(os.lstat(place).st_mode):
                        os.unlink(place)  # noqa: PTH108
                        os.mkdir(place)  # noqa: PTH102
                _link_tree(entry.path, place)
                continue
            try:
                _link(entry, place)
            except FileExistsError:
                _remove(Path(place))
                _link(entry, place)


def _link(entry: os.DirEntry[str], place: str) -> None:
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), place)  # noqa: PTH115, PTH211
    else:
        os.link(entry.path, place)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
