"""The expected duration of a release: from releases of the same kind on this machine, or unknown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.forecast.release_times import KEPT, Past, Work, expect, phases_of, read_past, record_past, work_of
from pipeline.stacks import Create, NoChange, Refuse, StackState, StackStatus, Update, Wait, WantedStack

WANTED = WantedStack("shop-pipeline-dev", "{}")
STATE = StackState("shop-pipeline-dev", StackStatus.UPDATE_COMPLETE)
IMAGES = ("HelloImage",)


def update(**fields: object) -> Update:
    return Update(WANTED, STATE, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plan", "registry", "work"),
    [
        (Create(WANTED), True, Work.CREATE),
        (NoChange(WANTED, STATE), False, Work.NOTHING),
        (NoChange(WANTED, STATE), True, Work.UPDATE),
        (update(parameters={"HelloImage": ("a", "b")}), False, Work.IMAGES),
        (update(parameters={"HelloImage": ("a", "b")}), True, Work.UPDATE),
        (update(parameters={"HelloImage": ("a", "b"), "Zones": ("a", "b")}), False, Work.UPDATE),
        (update(template_changed=True), False, Work.UPDATE),
        (update(tags_changed=True), False, Work.UPDATE),
        (Wait(WANTED, STATE), False, Work.UPDATE),
        (Refuse(WANTED, "no", ""), False, Work.UPDATE),
    ],
)
def test_a_release_is_of_the_kind_of_its_slowest_part(plan: object, registry: bool, work: Work) -> None:
    assert work_of(plan, registry=registry, images=IMAGES) is work  # type: ignore[arg-type]


def test_nothing_is_expected_of_a_kind_that_was_never_recorded(tmp_path: Path) -> None:
    file = tmp_path / "durations" / "dev.json"
    assert expect(read_past(file), Work.IMAGES) is None
    record_past(file, Past(Work.CREATE, {"total": 90.0}))
    assert expect(read_past(file), Work.IMAGES) is None


def test_medians_of_the_last_releases_of_that_kind_are_expected(tmp_path: Path) -> None:
    file = tmp_path / "dev.json"
    for total in (500.0, 1.0, 9.0, 3.0, 2.0, 4.0):  # the first one is forgotten
        record_past(file, Past(Work.IMAGES, {"push": total / 10, "total": total}))
    record_past(file, Past(Work.CREATE, {"stacks": 80.0, "total": 90.0}))
    expected = expect(read_past(file), Work.IMAGES)
    assert expected is not None
    assert (expected.total, dict(expected.phases), expected.of) == (3.0, {"push": 0.3}, KEPT)


def test_a_phase_that_most_releases_skipped_is_not_expected() -> None:
    past = [Past(Work.NOTHING, {"total": 1.0}), Past(Work.NOTHING, {"total": 1.0, "record": 5.0})]
    past.append(Past(Work.NOTHING, {"total": 2.0}))
    expected = expect(past, Work.NOTHING)
    assert expected is not None
    assert expected.phases == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 2, "past": []}', b'{"version": 1, "past": [1]}',
                                     b'{"version": 1, "past": [{"work": "x", "seconds": {}}]}', b"\xff"])  # fmt: skip
def test_a_file_that_is_none_is_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "dev.json"
    file.write_bytes(content)
    assert read_past(file) == ()
    record_past(file, Past(Work.NOTHING, {"total": 1.0}))
    assert len(read_past(file)) == 1


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dev.json")
    assert read_past(tmp_path / "dev.json") == ()


def test_steps_without_a_phase_count_in_the_total_only() -> None:
    assert phases_of({"emulator": 2.0, "push f": 1.0, "push": 3.0, "docker build f": 4.0}, 9.0) == {
        "images": 4.0, "push": 3.0, "total": 9.0,
    }  # fmt: skip
