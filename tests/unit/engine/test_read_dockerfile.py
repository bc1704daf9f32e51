"""Reading a function's Dockerfile: only a regular file of the function's own folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cfn.settings import FunctionDefinition
from pipeline.assembly.model import FunctionSource
from pipeline.core.errors import SourceError
from pipeline.engine.build_context import read_dockerfile


def source(tmp_path: Path) -> FunctionSource:
    folder = tmp_path / "images" / "one"
    folder.mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    return FunctionSource(FunctionDefinition("one"), folder, "handler.handle")


def test_it_may_be_a_link_within_the_folder(tmp_path: Path) -> None:
    given = source(tmp_path)
    (given.folder / "other").write_text("FROM scratch\n")
    (given.folder / "Dockerfile").symlink_to("other")
    assert read_dockerfile(given, "") == b"FROM scratch\n"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.symlink_to("../../secret"), "it is a link that leads out of the folder"),
        (lambda path: path.symlink_to("gone"), "No such file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, "it is not a regular file"),
        (lambda path: path.write_bytes(b"#" * 1_000_001), "it has more than 1,000,000 bytes"),
    ],
)
def test_anything_else_is_an_error_that_says_so(tmp_path: Path, make: Callable[[Path], None], why: str) -> None:
    given = source(tmp_path)
    make(given.folder / "Dockerfile")
    with pytest.raises(SourceError, match=why) as caught:
        read_dockerfile(given, "Mend it.")
    assert str(given.folder / "Dockerfile") in caught.value.why
