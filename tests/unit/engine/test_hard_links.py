"""Layers of an engine with hard links, which Lambda refuses."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from pipeline.engine.export import copy_hard_links
from pipeline.oci.values import Digest

LONG = f"{'long/' * 40}name"


def _write(path: Path, *entries: tuple[str, str, str]) -> None:
    """A tar of (kind, name, content or target)."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for kind, name, text in entries:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.uid, entry.mtime = 0o4755, 7, 1.5
            entry.pax_headers = {"SCHILY.xattr.user.a": "b"}
            if kind == "file":
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
                continue
            entry.type, entry.linkname = (tarfile.LNKTYPE if kind == "link" else tarfile.SYMTYPE), text
            archive.addfile(entry)


def test_each_becomes_a_file_like_the_one_that_it_names(tmp_path: Path) -> None:
    plain, copied = tmp_path / "plain.tar", tmp_path / "copied.tar"
    _write(
        plain, ("file", LONG, "text"), ("link", "b", LONG), ("link", "c/" + LONG, "./" + LONG), ("symlink", "d", "b")
    )
    assert copy_hard_links(plain, copied) == Digest.of(copied.read_bytes())
    with tarfile.open(copied) as archive:
        members = archive.getmembers()
        files = [each for each in members if each.isfile()]
        assert [each.name for each in files] == [LONG, "b", "c/" + LONG]
        assert {archive.extractfile(each).read() for each in files} == {b"text"}  # type: ignore[union-attr]
        assert {(each.mode, each.uid, each.mtime) for each in files} == {(0o4755, 7, 1.5)}
        assert all(each.pax_headers["SCHILY.xattr.user.a"] == "b" for each in members)
        assert [(each.name, each.linkname) for each in members if each.issym()] == [("d", "b")]


@pytest.mark.parametrize(
    "entries",
    [
        [("file", "a", "text"), ("symlink", "b", "a")],
        [("file", "a", "text"), ("link", "b", "elsewhere")],
        [("symlink", "a", "text"), ("link", "b", "a")],
    ],
    ids=["none", "to another layer", "to a symbolic link"],
)
def test_what_cannot_be_copied_stays_for_the_check(tmp_path: Path, entries: list[tuple[str, str, str]]) -> None:
    _write(tmp_path / "plain.tar", *entries)
    assert copy_hard_links(tmp_path / "plain.tar", tmp_path / "copied.tar") is None
