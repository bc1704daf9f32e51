"""The items and the results of a Distributed Map."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.local.emulator.patches.maps.map_items import INPUT_MAX_BYTES, ReaderFailed, TooLarge, batches, parse_items
from pipeline.local.emulator.patches.maps.map_results import result_files, transformed
from pipeline.local.emulator.patches.maps.map_rows import MAPS
from pipeline.local.emulator.patches.maps.map_run import MapRun
from pipeline.local.emulator.patches.maps.map_runs import MapRuns

JSONL, CSV = {"InputType": "JSONL"}, {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"}


@pytest.mark.parametrize(
    ("body", "config", "items"),
    [
        (b'{"a":1}\n\n[2]\r\n"x"', JSONL, [{"a": 1}, [2], "x"]),
        ('"\u2028\u0085"\n'.encode(), JSONL, ["\u2028\u0085"]),
        (b"", JSONL, []),
        (b"[1,2,3]", {"MaxItems": 2}, [1, 2]),
        (b"[1,2,3]", {"MaxItems": 0}, [1, 2, 3]),
        (b'{"a":{"b":[1]}}', {"ItemsPointer": "/a/b"}, [1]),
        (b"a,b\n1\n1,2,3\n\n", CSV, [{"a": "1", "b": ""}, {"a": "1", "b": "2"}]),
        (b'a,b\n"x\ny",2\n', CSV, [{"a": "x\ny", "b": "2"}]),
        (b"", CSV, []),
        (
            b"1|2\n",
            {"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["a", "b"], "CSVDelimiter": "PIPE"},
            [{"a": "1", "b": "2"}],
        ),
    ],
)
def test_an_object_has_these_items(body: bytes, config: dict[str, Any], items: list[Any]) -> None:
    assert parse_items(body, config) == items


@pytest.mark.parametrize(
    ("body", "config", "cause"),
    [
        (b"a,a\n1,2\n", CSV, "CSV headers cannot contain duplicates."),
        (b'{"a":1}', {}, "Attempting to map over non-iterable node."),
        (b"[]", {"MaxItems": -1}, "field MaxItems must be positive"),
        (b'{"a":1}\n{oops\n', JSONL, "Line 2 of the object is not JSON: "),
        (b'"\xff"\n', JSONL, "The object is not UTF-8 at byte 1."),
        (b"\x1f\x8b\x08", JSONL, "The object is not UTF-8 at byte 1."),
        (b"[]", {"ItemsPointer": "/a"}, "The object has no items: "),
    ],
)
def test_an_object_that_cannot_be_read_says_why(body: bytes, config: dict[str, Any], cause: str) -> None:
    with pytest.raises(ReaderFailed) as failed:
        parse_items(body, config)
    assert str(failed.value).startswith(cause)


def test_each_item_is_an_input_without_a_batcher() -> None:
    assert [(each.input, each.items) for each in batches([1, 2])] == [(1, 1), (2, 1)]


def test_batches_keep_both_limits_and_the_order() -> None:
    by_number = [each.input for each in batches(list(range(5)), most_items=2, batch_input={"at": "t"})]
    assert by_number == [{"BatchInput": {"at": "t"}, "Items": items} for items in ([0, 1], [2, 3], [4])]
    by_bytes = list(batches(["é" * 10] * 5, most_bytes=60))
    assert [each.items for each in by_bytes] == [2, 2, 1]
    assert all(
        len(json.dumps(each.input, separators=(",", ":"), ensure_ascii=False).encode()) <= 60 for each in by_bytes
    )


@pytest.mark.parametrize("limits", [{}, {"most_items": 2}, {"most_bytes": 100}])
def test_an_item_that_fits_into_no_input_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(TooLarge):
        list(batches(["x", "x" * INPUT_MAX_BYTES], **limits))


@dataclass
class Child:
    status: str
    output: Any = None

    def to_json(self) -> dict[str, Any]:
        return {"Status": self.status}


CHILDREN = [Child("SUCCEEDED", [1, 2]), Child("TIMED_OUT"), Child("SUCCEEDED", 3), Child("PENDING")]


def test_results_by_transformation() -> None:
    ended = CHILDREN[:3]
    assert transformed(ended, "FLATTEN") == [1, 2, {"Status": "TIMED_OUT"}, 3]
    assert transformed(ended, "COMPACT") == [[1, 2], {"Status": "TIMED_OUT"}, 3]
    assert transformed(ended, "NONE") == [{"Status": each.status} for each in ended]


def test_results_are_files_by_status_and_a_manifest() -> None:
    files = result_files(
        CHILDREN,
        bucket="b",
        folder="p/id",
        map_run_arn="arn",
        config={"Transformation": "FLATTEN", "OutputType": "JSONL"},
    )
    assert list(files)[-1] == "p/id/manifest.json"
    assert files["p/id/SUCCEEDED_0.jsonl"] == b"1\n2\n3\n"
    manifest = json.loads(files["p/id/manifest.json"])
    assert (manifest["DestinationBucket"], manifest["MapRunArn"]) == ("b", "arn")
    assert {name: len(each) for name, each in manifest["ResultFiles"].items()} == {
        "FAILED": 1, "PENDING": 1, "SUCCEEDED": 1,
    }  # fmt: skip
    assert all(len(files[each["Key"]]) == each["Size"] for found in manifest["ResultFiles"].values() for each in found)


def test_a_map_run_of_an_ended_process_has_failed() -> None:
    runs = {"mine": {"status": "RUNNING"}, "done": {"status": "SUCCEEDED"}}
    machines = SimpleNamespace(
        _map_runs=SimpleNamespace(all_values=runs.values), now_iso=lambda: "2026-12-01T00:00:00.000Z"
    )
    row = next(each for each in MAPS if each.target.endswith(":_restore_state"))
    restored: list[Any] = []
    row.replace(restored.append, machines)({"map_runs": {}})
    assert restored == [{"map_runs": {}}]
    assert runs == {
        "mine": {"status": "FAILED", "stopDate": "2026-12-01T00:00:00.000Z"},
        "done": {"status": "SUCCEEDED"},
    }


def test_an_execution_with_the_arn_of_an_earlier_one_has_not_its_map_run() -> None:
    machines = SimpleNamespace(_map_runs={})
    runs, view = MapRuns(machines), {"mapRunArn": "run", "executionArn": "arn"}
    runs._keep(run := MapRun(view, "2026-12-01T00:00:00.000Z", "Lines", {}, {}))
    assert runs.find({"executionArn": "arn", "startDate": "2026-12-01T00:00:00.000Z"}) is run
    assert runs.find({"executionArn": "arn", "startDate": "2026-12-02T00:00:00.000Z"}) is None


def test_an_object_is_serialised_where_an_argument_is_a_text() -> None:
    row = next(each for each in MAPS if each.target.endswith(":_sdk_json_param_value"))
    value = row.replace(lambda value, _shape: value, None)
    text, structure = SimpleNamespace(type_name="string"), SimpleNamespace(type_name="structure")
    assert value({"amount": 0.1000000000000001}, text) == '{"amount": 0.1000000000000001}'
    assert value("as it is", text) == "as it is"
    assert value({"a": 1}, structure) == {"a": 1}
