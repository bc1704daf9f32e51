"""States are replaced together, layers are written once, and what is not saved yet is named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.local.emulator.durable.state_files import (
    COMMIT,
    NEXT,
    Unsaved,
    finish_replacing,
    forget_blobs,
    keep_blob,
    read_blob,
    replace_together,
)

LAYER = b"layer"
DIGEST = f"sha256:{hashlib.sha256(LAYER).hexdigest()}"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_documents_replace_what_was_there_and_leave_the_rest(tmp_path: Path) -> None:
    replace_together(tmp_path, {"ecr": "1", "sqs": "1"})
    replace_together(tmp_path, {"ecr": "2"})
    assert (tmp_path / "ecr.json").read_text() == "2"
    assert names(tmp_path) == ["ecr.json", "sqs.json"]


def test_a_kill_before_all_are_complete_leaves_all_old(tmp_path: Path) -> None:
    replace_together(tmp_path, {"ecr": "1", "sqs": "1"})
    (tmp_path / NEXT).mkdir()
    (tmp_path / NEXT / "ecr.json").write_text("2")
    finish_replacing(tmp_path)
    assert (tmp_path / "ecr.json").read_text() == "1"
    assert names(tmp_path) == ["ecr.json", "sqs.json"]


def test_a_kill_while_they_are_moved_leaves_all_new(tmp_path: Path) -> None:
    replace_together(tmp_path, {"ecr": "1", "sqs": "1"})
    (tmp_path / COMMIT).mkdir()
    (tmp_path / COMMIT / "sqs.json").write_text("2")  # ecr.json was moved already
    (tmp_path / "ecr.json").write_text("2")
    finish_replacing(tmp_path)
    assert [(tmp_path / f"{name}.json").read_text() for name in ("ecr", "sqs")] == ["2", "2"]
    assert names(tmp_path) == ["ecr.json", "sqs.json"]


def test_a_layer_is_read_only_if_it_is_what_its_digest_says(tmp_path: Path) -> None:
    keep_blob(tmp_path, DIGEST, LAYER)
    assert read_blob(tmp_path, DIGEST) == LAYER
    [path] = (tmp_path / "blobs").iterdir()
    path.write_bytes(b"damaged")
    assert read_blob(tmp_path, DIGEST) is None
    assert read_blob(tmp_path, "sha256:0") is None


def test_layers_that_no_repository_has_and_leftovers_are_removed(tmp_path: Path) -> None:
    keep_blob(tmp_path, DIGEST, LAYER)
    keep_blob(tmp_path, "sha256:other", b"other")
    (tmp_path / "blobs" / "writing-1").write_bytes(b"killed")
    forget_blobs(tmp_path, [DIGEST])
    assert len(names(tmp_path / "blobs")) == 1
    assert read_blob(tmp_path, DIGEST) == LAYER


@pytest.mark.parametrize("digest", ["../../escape", "sha256:../x", ""])
def test_a_digest_is_never_a_path(tmp_path: Path, digest: str) -> None:
    state = tmp_path / "state"
    state.mkdir()
    keep_blob(state, digest, b"content")
    assert names(tmp_path) == ["state"]
    assert names(state) == ["blobs"]


def test_what_changes_is_named_until_it_is_saved(tmp_path: Path) -> None:
    unsaved = Unsaved(tmp_path)
    unsaved.note("ecr")
    unsaved.note("ecr")
    assert list(Unsaved(tmp_path).read()) == ["ecr"]
    unsaved.begin_saving()
    unsaved.note("ssm")
    assert sorted(Unsaved(tmp_path).read()) == ["ecr", "ssm"]
    unsaved.saved()
    assert list(Unsaved(tmp_path).read()) == ["ssm"]


def test_what_changes_while_it_is_saved_stays_named(tmp_path: Path) -> None:
    unsaved = Unsaved(tmp_path)
    unsaved.note("ecr")
    unsaved.begin_saving()
    unsaved.note("ecr")
    unsaved.saved()
    assert list(Unsaved(tmp_path).read()) == ["ecr"]


def test_what_could_not_be_saved_stays_named(tmp_path: Path) -> None:
    unsaved = Unsaved(tmp_path)
    unsaved.note("ecr")
    unsaved.begin_saving()
    unsaved.begin_saving()
    unsaved.note("ssm")
    assert sorted(Unsaved(tmp_path).read()) == ["ecr", "ssm"]
