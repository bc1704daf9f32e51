"""What a saved file asks for, and what is found wrong before anything is built."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cfn.settings import Architecture, FunctionDefinition
from pipeline.assembly.model import FunctionSource, Platform, PythonVersion
from pipeline.core.errors import SourceError
from pipeline.release.watch import Changes, compile_sources, judge_changes, named_files, saved_files, seen_after

NAMES = ("one", "two")
ONE, ALL = frozenset({"one"}), frozenset(NAMES)
USERS = {name: frozenset({name}) for name in NAMES}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    for name in NAMES:
        (images / name).mkdir(parents=True)
        (images / name / "function.toml").write_text('handler = "handler.handle"\n')
        (images / name / "handler.py").write_text("def handle(event, context):\n    return event\n")
    (images / "shared").mkdir()
    (images / "shared" / "__init__.py").write_text("")
    (images / "notes").mkdir()
    (images / "README.md").write_text("")
    return images


def source(images: Path, name: str = "one") -> FunctionSource:
    return FunctionSource(FunctionDefinition(name), images / name, "handler.handle", shared=(images / "shared",))


@pytest.mark.parametrize(
    ("path", "functions", "whole"),
    [
        ("one/handler.py", ONE, False),
        ("one/rules/table.json", ONE, False),
        ("one/.dockerignore", ONE, False),
        ("one/gone.py", ONE, False),
        ("shared/money.py", ALL, False),
        ("shared/__init__.py", ALL, False),
        ("shared", ALL, False),
        ("one/function.toml", frozenset(), True),
        ("one/requirements.txt", frozenset(), True),
        ("three/handler.py", frozenset(), False),
        ("one", ONE, False),
        ("notes", frozenset(), False),
        ("one/requirements.in", ONE, False),
        ("one/Dockerfile", ONE, False),
        ("one/test_handler.py", frozenset(), False),
        ("one/__pycache__/handler.cpython-311.pyc", frozenset(), False),
        ("one/.handler.py.swp", frozenset(), False),
        ("one/.handler.py.swx", frozenset(), False),
        ("one/handler.py~", frozenset(), False),
        ("one/.#handler.py", frozenset(), False),
        ("one/#handler.py#", frozenset(), False),
        ("one/handler.py___jb_tmp___", frozenset(), False),
        ("one/.goutputstream-A1B2C3", frozenset(), False),
        ("README.md", frozenset(), False),
        ("notes/idea.py", frozenset(), False),
        (".git/index", frozenset(), False),
        ("__pycache__/x.pyc", frozenset(), False),
        ("../bootstrap.py", frozenset(), False),
        ("../resources.yaml", frozenset(), True),
        ("../workflow.asl.yaml", frozenset(), True),
        ("../workflow.toml", frozenset(), True),
        ("../environments.toml", frozenset(), False),
        ("one/resources.yaml", ONE, False),
    ],
)
def test_what_a_changed_file_asks_for(images: Path, path: str, functions: frozenset[str], whole: bool) -> None:
    changed = judge_changes([(images / path).parent.resolve() / Path(path).name], images, USERS)
    assert (changed.functions, changed.whole) == (functions, whole)
    assert bool(changed) == (whole or bool(functions))


def test_a_function_that_came_or_went_is_a_whole_release(images: Path) -> None:
    assert judge_changes([images / "two" / "handler.py"], images, {"one": ONE}).whole
    (images / "two" / "function.toml").unlink()
    assert judge_changes([images / "two" / "handler.py"], images, USERS).whole


def test_what_the_folder_leaves_out_itself_asks_for_nothing(images: Path) -> None:
    (images / "one" / ".dockerignore").write_text("*.md\n")
    assert not judge_changes([images / "one" / "README.md"], images, USERS)
    assert judge_changes([images / "two" / "README.md"], images, USERS).functions == {"two"}


def test_a_file_of_code_that_several_functions_run_asks_for_all_of_them(images: Path) -> None:
    (images / "code").mkdir()
    users = {**USERS, "code": ALL, "two": ALL}
    assert judge_changes([images / "code" / "orders.py"], images, users) == Changes(ALL, ("code/orders.py",))
    assert judge_changes([images / "code" / "requirements.txt"], images, users).whole
    assert not judge_changes([images / "code" / "__pycache__" / "orders.pyc"], images, users)
    assert judge_changes([images / "two" / "handler.py"], images, users).functions == ALL
    assert judge_changes([images / "one" / "events" / "smoke.json"], images, users).functions <= ONE


def test_changes_add_up() -> None:
    first, second = Changes(ONE, ("one/a.py",)), Changes(frozenset({"two"}), ("one/a.py", "two/b.py"))
    assert first | second == Changes(ALL, ("one/a.py", "two/b.py"))
    assert (first | Changes(whole=True)).whole


def test_a_function_with_a_dockerfile_may_have_another_python(images: Path) -> None:
    (images / "one" / "handler.py").write_text("print 'of another version'\n")
    compile_sources(
        [FunctionSource(FunctionDefinition("one"), images / "one", "")],
        Platform(Architecture.X86_64, PythonVersion(3, 11)),
    )


def test_every_file_that_does_not_compile_is_named(images: Path) -> None:
    (images / "one" / "handler.py").write_text("def handle(:\n")
    (images / "shared" / "money.py").write_text("x = 1\n  y = 2\n")
    (images / "two" / "handler.py").write_text("nor this(\n")
    platform = Platform(Architecture.X86_64, PythonVersion(3, 11))
    with pytest.raises(SourceError) as raised:
        compile_sources([source(images)], platform)
    assert "one/handler.py:1: " in raised.value.why
    assert "shared/money.py:2: " in raised.value.why
    assert "two" not in raised.value.why


def test_modules_for_a_newer_python_are_left_to_it(images: Path) -> None:
    (images / "one" / "handler.py").write_text("some syntax of tomorrow\n")
    compile_sources([source(images)], Platform(Architecture.X86_64, PythonVersion(3, 99)))


def test_files_that_were_taken_away_again_are_not_named(images: Path) -> None:
    assert named_files(images, ("one/handler.py", "one/sedA1B2C3")) == ("one/handler.py",)
    assert named_files(images, ("one/gone.py",)) == ("one/gone.py",)


def test_the_time_since_a_save_is_that_of_the_newest_file(images: Path) -> None:
    long_ago = time.time() - 1000
    os.utime(images / "one" / "handler.py", (long_ago, long_ago))
    assert seen_after(images, ["one/handler.py"]) >= 1000
    assert 0 <= seen_after(images, ["one/handler.py", "two/handler.py", "one/gone.py"]) < 900
    assert seen_after(images, ["one/gone.py"]) == 0.0


def test_files_beside_images_are_in_a_batch_however_they_are_saved(images: Path) -> None:
    root = images.parent
    saves = [
        ("resources.yaml", lambda file: file.write_text("Resources: {}")),
        ("resources.yaml", lambda file: (root / "new").write_text("Resources: {} ") and (root / "new").replace(file)),
        ("workflow.toml", lambda file: file.touch()),
        ("resources.yaml", lambda file: file.unlink()),
    ]
    batches = saved_files(images)
    assert next(batches) == set()
    for name, save in saves:
        save(root / name)
        assert next(batch for batch in batches if batch) == {root / name}
    (root / "environments.toml").write_text("")
    assert next(batches) == set()
