"""Files of transactions: lines, malformed lines and results."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from pathlib import Path

import pytest

from pipeline.core.errors import SubmissionError
from pipeline.transactions.results_file import Done, Origin, open_results
from pipeline.transactions.submissions import Summary, submit_file
from pipeline.transactions.transaction_lines import LINE_MAX_BYTES, Line, read_lines

ORIGIN = Origin("local/1", "arn:machine")


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_each_line_is_a_transaction_with_its_number(tmp_path: Path) -> None:
    path = write(tmp_path, "t.jsonl", '{"a":1}\n\n  \n{"b":2}')
    assert list(read_lines(path)) == [Line(1, '{"a":1}'), Line(4, '{"b":2}')]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_endings_and_a_byte_order_mark_do_not_matter(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, "t.JSONL", b"\xef\xbb\xbf" + f'{{"a":1}}{ending}{{"b":2}}{ending}'.encode())
    assert [line.text for line in read_lines(path)] == ['{"a":1}', '{"b":2}']


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":1e400}', "out of range"),
        (b'{"a":' + b"9" * 5_000 + b"}", "out of range"),
        (b'{"amount":1,"amount":2}', "the name amount is repeated"),
        (b'{"a":1} {"b":2}', "not JSON"),
        (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":"' + b"x" * LINE_MAX_BYTES + b'"}', "longer than"),
    ],
    ids=["open", "quotes", "nan", "range", "digits", "twice", "two", "bytes", "deep", "long"],
)
def test_a_malformed_line_is_reported_and_the_rest_is_read(tmp_path: Path, line: bytes, why: str) -> None:
    first, second, third = read_lines(write(tmp_path, "t.jsonl", b'{"a":1}\n' + line + b'\n{"b":2}\n'))
    assert (first.text, third, second.number, second.text) == ('{"a":1}', Line(3, '{"b":2}'), 2, "")
    assert why in second.why


def test_the_first_row_of_a_csv_file_names_the_fields(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", 'transaction_id, amount,note\nt-1,10.00,"a ""b"", c"\n\nt-2,1e3,\n')
    assert [(line.number, json.loads(line.text)) for line in read_lines(path)] == [
        (2, {"transaction_id": "t-1", "amount": "10.00", "note": 'a "b", c'}),
        (4, {"transaction_id": "t-2", "amount": "1e3"}),
    ]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (b"t-1", "1 cells"),
        (b"t-1,1,2", "3 cells"),
        (b't-1,"a"b', "not CSV"),
        (b"t-1,\xff", "not UTF-8"),
        (b"t-1," + b"x" * 200_000, "not CSV"),
    ],
    ids=["few", "many", "quotes", "bytes", "long"],
)
def test_a_malformed_row_is_reported_and_the_rest_is_read(tmp_path: Path, row: bytes, why: str) -> None:
    lines = list(read_lines(write(tmp_path, "t.csv", b"transaction_id,amount\nt-0,1\n" + row + b"\nt-2,3\n")))
    assert [line.number for line in lines] == [2, 3, 4]
    assert why in lines[1].why
    assert json.loads(lines[2].text)["transaction_id"] == "t-2"


@pytest.mark.parametrize("header", ["", "amount\n1\n", "transaction_id,amount,amount\n"])
def test_a_csv_file_without_usable_fields_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(SubmissionError, match="first row"):
        list(read_lines(write(tmp_path, "t.csv", header)))


@pytest.mark.parametrize("name", ["t.json", "t"])
def test_another_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SubmissionError, match="format"):
        list(read_lines(write(tmp_path, name, "{}")))


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="No such file"):
        list(read_lines(tmp_path / "t.jsonl"))


def test_results_are_found_again(tmp_path: Path) -> None:
    line = Line(3, '{"a":1}')
    with open_results(tmp_path / "r", ORIGIN) as results:
        results.add(Done(3, line.digest, "APPROVED", transaction_id="t"))
    with open_results(tmp_path / "r", ORIGIN) as results:
        found = results.find(line)
        assert found is not None
        assert (found.outcome, found.transaction_id) == ("APPROVED", "t")
        assert results.find(Line(3, '{"a":2}')) is None
        assert results.find(Line(4, '{"a":1}')) is None


@pytest.mark.parametrize(("outcome", "again"), [("unanswered", True), ("parked", False), ("malformed", False)])
def test_only_unanswered_lines_are_retried(tmp_path: Path, outcome: str, again: bool) -> None:
    line = Line(1, "{}")
    with open_results(tmp_path / "r", ORIGIN) as results:
        results.add(Done(1, line.digest, outcome))
    with open_results(tmp_path / "r", ORIGIN) as results:
        assert (results.find(line) is None) is again


def test_a_truncated_last_result_is_dropped(tmp_path: Path) -> None:
    line = Line(1, "{}")
    with open_results(tmp_path / "r", ORIGIN) as results:
        results.add(Done(1, line.digest, "APPROVED"))
        results.add(Done(2, Line(2, "{}").digest, "APPROVED"))
    whole = (tmp_path / "r").read_bytes()
    (tmp_path / "r").write_bytes(whole[:-7])
    with open_results(tmp_path / "r", ORIGIN) as results:
        assert sorted(results.done) == [1]
        results.add(Done(2, Line(2, "{}").digest, "APPROVED"))
    assert (tmp_path / "r").read_bytes() == whole


def test_a_file_that_is_not_a_results_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r").write_text('{"transaction_id":"t"}\n')
    with pytest.raises(SubmissionError, match="not a results file"), open_results(tmp_path / "r", ORIGIN):
        pass
    assert (tmp_path / "r").read_text() == '{"transaction_id":"t"}\n'


def test_two_processes_do_not_share_a_results_file(tmp_path: Path) -> None:
    with (
        open_results(tmp_path / "r", ORIGIN),
        pytest.raises(SubmissionError, match="another process"),
        open_results(tmp_path / "r", ORIGIN),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    with (
        pytest.raises(SubmissionError, match="results file cannot be written"),
        open_results(tmp_path / "no" / "r", ORIGIN),
    ):
        pass


@pytest.mark.parametrize(
    "content",
    [
        b"notes without a final newline",
        b'{"transaction_id": "t-1"}',
        b"{",
        b"\x00" * 5_000_000,
        b'{"line": 1, "digest": "d", "outcome": "APPROVED", "repeat": "no"}\n',
        b'{"line": true, "digest": "d", "outcome": "APPROVED", "repeat": false}\n',
        b'{"line": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n",
        b"[1, 2]\n",
        b'{"line": 1, "digest": "d", "outcome": "APPROVED", "repeat": false}\nnotes',
        b'{"line": ' + b" " * 3_000_000,
    ],
)
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r"
    path.write_bytes(content)
    with pytest.raises(SubmissionError, match="not a results file"), open_results(path, ORIGIN):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize("device", ["/dev/full", "/dev/zero", "/dev/null"])
def test_a_device_is_not_a_results_file(device: str) -> None:
    with pytest.raises(SubmissionError, match="not a regular file"), open_results(Path(device), ORIGIN):
        pass


def test_the_file_itself_is_not_its_results_file(tmp_path: Path) -> None:
    path = write(tmp_path, "t.jsonl", "{}")
    (tmp_path / "link").symlink_to(path)
    for results in (path, tmp_path / "link"):
        with pytest.raises(SubmissionError, match="is the file itself"):
            submit_file(None, "", path, results=results)
    assert path.read_text() == "{}"


@pytest.mark.at_length
@pytest.mark.parametrize("name", ["t.jsonl", "t.csv"])
def test_a_line_without_end_takes_bounded_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"transaction_id\n")
    with path.open("r+b") as file:
        file.truncate(400_000_000)
    tracemalloc.start()
    try:
        lines = list(read_lines(path))
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert [bool(line.why) for line in lines][-1:] == [True]


@pytest.mark.at_length
@pytest.mark.parametrize(
    "row",
    [b'"a\n' + b'b","c\n' * 400_000 + b'"', b"," * 3_000_000, b'"' + b"\n" * 150_000],
    ids=["cells", "commas", "lines"],
)
def test_a_row_without_end_takes_bounded_memory_and_the_rest_is_read(tmp_path: Path, row: bytes) -> None:
    path = write(tmp_path, "t.csv", b"transaction_id,amount\nt-0,1\n" + row + b"\nt-2,3\n")
    tracemalloc.start()
    try:
        lines = list(read_lines(path))
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()
    assert [lines[0].number, lines[-1].number] == [2, 3 + row.count(b"\n") + 1]
    assert not lines[0].why
    assert all(line.why for line in lines[1:-1])
    assert json.loads(lines[-1].text)["transaction_id"] == "t-2"


def test_a_first_row_of_a_million_columns_is_refused_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", ",".join("abcd" for _ in range(200_000)) + "\n")
    started = time.monotonic()
    with pytest.raises(SubmissionError, match="names 'abcd' twice"):
        list(read_lines(path))
    assert time.monotonic() - started < 5


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.jsonl")
    with pytest.raises(SubmissionError, match="was not submitted"):
        list(read_lines(tmp_path / "t.jsonl"))


@pytest.mark.parametrize(
    ("counts", "without"),
    [({"APPROVED": 2}, 0), ({"APPROVED": 2, "parked": 1}, 1), ({"malformed": 3}, 3), ({"unanswered": 1}, 1)],
)
def test_lines_without_an_answer_are_counted(counts: dict[str, int], without: int) -> None:
    assert Summary(3, 0, counts, 0, (), (), 1.0, Path("r")).without_answer == without


def test_a_results_file_names_where_its_lines_were_submitted(tmp_path: Path) -> None:
    with open_results(tmp_path / "r", ORIGIN) as results:
        results.add(Done(1, "digest", "APPROVED"))
    assert json.loads((tmp_path / "r").read_text().splitlines()[0]) == {
        "line": 0, "aws": "local/1", "state_machine": "arn:machine",
    }  # fmt: skip
    with open_results(tmp_path / "r", ORIGIN) as results:
        assert list(results.done) == [1]
    assert len((tmp_path / "r").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (Origin("local/2", "arn:machine"), "has the results of local/1, and this is local/2"),
        (Origin("local/1", "arn:other"), "has the results of arn:machine, and this is arn:other"),
    ],
)
def test_a_run_does_not_resume_in_another_aws(tmp_path: Path, other: Origin, why: str) -> None:
    with open_results(tmp_path / "r", ORIGIN) as results:
        results.add(Done(1, "digest", "APPROVED"))
    before = (tmp_path / "r").read_bytes()
    with pytest.raises(SubmissionError, match=why), open_results(tmp_path / "r", other):
        pass
    assert (tmp_path / "r").read_bytes() == before


def test_a_first_line_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b'{"line": 0, "aws": "loc')
    with open_results(tmp_path / "r", ORIGIN) as results:
        results.add(Done(1, "digest", "APPROVED"))
    assert len((tmp_path / "r").read_text().splitlines()) == 2
