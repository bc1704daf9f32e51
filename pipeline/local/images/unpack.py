"""Unpack untrusted layers.

A layer is unpacked once, under its diff id; image trees are made of hard links to unpacked layers. An archive cannot
write outside of its folder: absolute and climbing paths, entries through links, links to the outside and devices are
rejected, and bytes and entries are limited.

Sources: OCI image specification, "Image Layer Filesystem Changeset" (whiteouts, entry types).
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.oci.archive import UNPACKED_MAX, Archive, BadArchive, Entry, Judge, whiteout


class UnsafeLayer(ValueError):
    """A layer with paths outside of its folder, special files, or more content than allowed."""


def unpack_layer(archive: Path, folder: Path, *, bytes_max: int = UNPACKED_MAX) -> int:
    """Unpack an uncompressed tar into ``folder`` (which must not exist); returns the bytes written.

    ``folder/files`` is the tree, ``folder/whiteouts.json`` the paths that the layer removes from lower layers.
    Raises UnsafeLayer, also for content that is not an archive.
    """
    tree = _Tree(folder / "files")
    judge = Judge()
    removed: list[str] = []
    opaque: list[str] = []
    written = 0
    try:
        with archive.open("rb") as stream:
            entries = Archive(stream.read, bytes_max=bytes_max)
            for entry in entries:
                if unsafe := judge.unsafe(entry):
                    raise UnsafeLayer(unsafe)
                if not entry.path:
                    continue
                if entry.special:
                    removed.append(entry.path)  # nothing of a lower layer stays visible there
                    continue
                if (gone := whiteout(entry.path)) is not None:
                    path, is_opaque = gone
                    (opaque if is_opaque else removed).append(path)
                else:
                    tree.write(entry, entries.content())
                    written += entry.size
    except BadArchive as error:
        raise UnsafeLayer(str(error)) from error
    (folder / "whiteouts.json").write_text(json.dumps({"removed": removed, "opaque": opaque}))
    return written


class _Tree:
    """The tree of one layer while it is written."""

    def __init__(self, files: Path) -> None:
        files.parent.mkdir()
        _make_open_folder(str(files))
        self._files = files
        # Folders known not to be links, so that parents are checked only once.
        self._folders = {""}

    def write(self, entry: Entry, content: Iterator[bytes]) -> None:
        """Write one entry, replacing an earlier one with the same path."""
        path = entry.path
        self._make_folder(path if entry.kind == "directory" else posixpath.dirname(path))
        target = self._files / path
        if entry.kind == "directory":
            return
        if entry.kind == "file":
            try:
                file = target.open("xb")
            except FileExistsError:  # also a link that leads nowhere
                self._remove(path)
                file = target.open("xb")
            _write_file(entry, content, file, target)
            return
        self._remove(path)
        if entry.kind == "symlink":
            target.symlink_to(inner_target(path, entry.target))
            return
        inside = Entry(entry.target, "file")
        source = self._files / inside.path
        if ".." in inside.path.split("/") or not _is_real(self._files, source) or not source.is_file():
            raise UnsafeLayer(f"the hard link {path!r} leads to {entry.target!r}, which is not an earlier file")
        os.link(source, target)

    def _make_folder(self, path: str) -> None:
        if path in self._folders:
            return
        self._make_folder(posixpath.dirname(path))
        here = self._files / path
        try:
            _make_open_folder(str(here))
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


def _write_file(entry: Entry, content: Iterator[bytes], file: BinaryIO, target: Path) -> None:
    with file:
        for chunk in content:
            file.write(chunk)
        # Read-only, as on Lambda; and linked into several trees, so a change would be a change to all of them.
        os.fchmod(file.fileno(), 0o555 if entry.mode & 0o111 else 0o444)
    # Byte code that an image brings is valid for the time of its source only.
    with contextlib.suppress(OSError, OverflowError, ValueError):
        os.utime(target, (entry.modified, entry.modified))


def _is_real(files: Path, path: Path) -> bool:
    """Whether no component of the path below ``files`` is a link."""
    here = files
    for part in path.relative_to(files).parts:
        here = here / part
        if here.is_symlink():
            return False
    return True


def inner_target(path: str, target: str) -> str:
    """A symbolic link's target, relative and normalised, so that it is valid in any folder.

    Absolute targets are relative to the image's root. In the result no ``..`` follows a name, so it cannot climb
    through another link. Raises UnsafeLayer if it leaves the root.

    >>> inner_target("usr/bin/python", "/usr/local/bin/python3")
    '../local/bin/python3'
    """
    folder = posixpath.dirname(path)
    inside = posixpath.normpath(target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target))
    if inside == ".." or inside.startswith("../"):
        raise UnsafeLayer(f"the link {path!r} leads out of the image, to {target!r}")
    return posixpath.relpath(inside, folder or ".")


def merge_layers(layers: list[Path], root: Path) -> None:
    """Create the tree of an image from unpacked layers, lowest first. Files are hard links into the layers."""
    _make_open_folder(str(root))
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


def _make_open_folder(place: str) -> None:
    """A folder that any user may enter, as on Lambda: a function may run as another user than the host."""
    os.mkdir(place)  # noqa: PTH102
    os.chmod(place, 0o755)  # noqa: PTH101, S103 - whatever the umask


def _link_tree(source: str, target: str) -> None:
    # Strings, and no look before the leap: a function's start waits for hundreds of these.
    with os.scandir(source) as entries:
        for entry in entries:
            place = f"{target}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                try:
                    _make_open_folder(place)
                except FileExistsError:
                    if not stat.S_ISDIR(os.lstat(place).st_mode):
                        os.unlink(place)  # noqa: PTH108
                        _make_open_folder(place)
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
