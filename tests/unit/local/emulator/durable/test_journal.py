"""What a killed process leaves in a journal, and what the next one reads of it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.local.emulator.durable.journal import Journal


def journal(folder: Path, identity: str = "one") -> Journal:
    return Journal(folder, "items", identity)


def written(folder: Path, *entries: list[object]) -> Path:
    """A journal with one line for each entry; its only segment."""
    writing = journal(folder)
    writing.begin()
    for entry in entries:
        writing.write(entry)
    writing.close()
    return folder / "items.1.journal"


def test_entries_are_replayed_in_their_order_over_all_segments(tmp_path: Path) -> None:
    writing = journal(tmp_path)
    writing.begin()
    writing.write(["put", 1], ["put", 2])
    assert writing.begin() == 2
    writing.write(["put", 3])
    assert list(journal(tmp_path).replay(0)) == [["put", 1], ["put", 2], ["put", 3]]
    assert list(journal(tmp_path).replay(2)) == [["put", 3]]


def test_what_is_written_is_for_its_owner_only(tmp_path: Path) -> None:
    assert written(tmp_path, ["put", 1]).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kept", [1, 10, 20])
def test_a_torn_last_line_is_dropped_without_a_word(tmp_path: Path, kept: int) -> None:
    path = written(tmp_path, ["put", "first"], ["put", "a longer last entry"])
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b'[["put","a longer') + kept])
    reading = journal(tmp_path)
    assert list(reading.replay(0)) == [["put", "first"]]
    assert reading.damaged == []


def test_a_torn_header_is_an_empty_segment(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:9])
    reading = journal(tmp_path)
    assert list(reading.replay(0)) == []
    assert reading.damaged == []


def test_a_line_that_is_damaged_in_the_middle_is_reported(tmp_path: Path) -> None:
    path = written(tmp_path, ["put", 1], ["put", 2], ["put", 3])
    path.write_bytes(path.read_bytes().replace(b'[["put",2]]', b"\0" * 11))
    reading = journal(tmp_path)
    assert list(reading.replay(0)) == [["put", 1]]
    assert reading.damaged == ["items.1.journal is damaged at line 3"]


def test_the_journal_of_another_embedded_aws_is_not_replayed(tmp_path: Path) -> None:
    written(tmp_path, ["put", 1])
    reading = journal(tmp_path, "two")
    assert list(reading.replay(0)) == []
    assert reading.damaged == ["items.1.journal belongs to another embedded AWS"]


@pytest.mark.parametrize("header", [b"[]\n", b'"text"\n', b"7\n"])
def test_a_file_that_is_no_journal_is_not_replayed(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "items.1.journal").write_bytes(header + b'[["put",1]]\n')
    assert list(journal(tmp_path).replay(0)) == []


def test_a_new_segment_follows_a_torn_one(tmp_path: Path) -> None:
    path = written(tmp_path, ["put", 1])
    path.write_bytes(path.read_bytes() + b'[["put"')
    writing = journal(tmp_path)
    list(writing.replay(0))
    assert writing.begin() == 2
    writing.write(["put", 2])
    assert list(journal(tmp_path).replay(0)) == [["put", 1], ["put", 2]]


def test_a_transaction_is_one_line_or_none(tmp_path: Path) -> None:
    writing = journal(tmp_path)
    writing.begin()
    with writing.together():
        writing.write(["put", 1])
        with writing.together():
            writing.write(["put", 2])
        assert list(journal(tmp_path).replay(0)) == []
    assert (tmp_path / "items.1.journal").read_bytes().endswith(b'\n[["put",1],["put",2]]\n')


def test_nothing_is_written_before_it_begins_or_after_it_is_closed(tmp_path: Path) -> None:
    writing = journal(tmp_path)
    writing.write(["put", 1])
    writing.begin()
    writing.close()
    writing.write(["put", 2])
    assert list(journal(tmp_path).replay(0)) == []


def test_old_segments_are_forgotten(tmp_path: Path) -> None:
    writing = journal(tmp_path)
    for entry in range(3):
        writing.begin()
        writing.write(["put", entry])
    writing.forget(3)
    assert list(journal(tmp_path).replay(0)) == [["put", 2]]


_FULL = """
import resource, signal, sys
from pathlib import Path
from pipeline.local.emulator.durable.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
journal = Journal(Path(sys.argv[1]), "items", "one")
journal.begin()
journal.write(["put", "small"])
try:
    journal.write(["put", "x" * 1000])
except OSError:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.write(["put", "after"])
"""


def test_a_write_that_fails_leaves_nothing_of_its_line(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    subprocess.run([sys.executable, "-c", _FULL, tmp_path], check=True, cwd=Path(__file__).resolve().parents[5])
    assert list(journal(tmp_path).replay(0)) == [["put", "small"], ["put", "after"]]


_KILLED = """
import sys
from pathlib import Path
from pipeline.local.emulator.durable.journal import Journal
journal = Journal(Path(sys.argv[1]), "items", "one")
journal.begin()
number = 0
while True:
    journal.write(["put", number, "x" * 5000])
    print(number, flush=True)
    number += 1
"""


def test_what_was_written_survives_the_kill_of_its_process(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", _KILLED, str(tmp_path)]
    root = Path(__file__).resolve().parents[5]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(500)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    found = [entry[1] for entry in journal(tmp_path).replay(0)]
    assert found[: len(acknowledged)] == acknowledged
