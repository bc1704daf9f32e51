"""Files are read whole or refused, and replaced only where they are files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.core.documents import parse_json
from pipeline.core.files import read_optional, write_atomically


def test_only_a_missing_file_is_none(tmp_path: Path) -> None:
    assert read_optional(tmp_path / "missing", 10) is None
    (tmp_path / "there").write_bytes(b"")
    assert read_optional(tmp_path / "there", 10) == b""
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    for name in ("link", "."):
        with pytest.raises(OSError, match=r"link to a missing file|directory"):
            read_optional(tmp_path / name, 10)


def test_a_device_or_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("pipe", "null"):
        with pytest.raises(OSError, match="not a regular file"):
            write_atomically(tmp_path / name, b"x")
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "null").is_symlink()
    assert {each.name for each in tmp_path.iterdir()} == {"pipe", "null"}


def test_a_number_with_too_many_digits_is_refused_without_advice() -> None:
    with pytest.raises(ValueError, match=r"value has 5000 digits$"):
        parse_json("9" * 5000)
