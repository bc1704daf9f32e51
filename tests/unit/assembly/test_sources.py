"""Which folders are functions, and every way in which one cannot become an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfn.settings import Call
from pipeline.assembly.model import PythonVersion
from pipeline.assembly.sources import find_sources
from pipeline.core.errors import SourceError
from tests.unit.assembly.conftest import FUNCTION_TOML, HANDLER, MakeFolder


def test_a_folder_becomes_a_source(make_function: MakeFolder, images: Path) -> None:
    make_function(
        "fraud-detection",
        {
            "function.toml": FUNCTION_TOML
            + 'memory = 512\ntimeout = 5\ndescription = "scores"\n[environment]\nBB = "2"\nA_1 = "1"\n'
            '[[calls]]\nservice = "dynamodb"\nactions = ["Query"]\nresource = "state-table/index/customer"\n',
            "requirements.txt": "",
        },
    )
    (images / "shared").mkdir()
    (images / "shared" / "__init__.py").touch()
    (images / "__pycache__").mkdir()
    (source,) = find_sources(images)
    assert source.name == "fraud-detection"
    assert source.handler == "handler.handle"
    assert source.requirements == images / "fraud-detection" / "requirements.txt"
    assert source.shared == (images / "shared",)
    definition = source.definition
    assert (definition.memory, definition.timeout, definition.description) == (512, 5, "scores")
    assert definition.calls == (Call("dynamodb", ("Query",), "state-table/index/customer"),)
    assert definition.environment == (("A_1", "1"), ("BB", "2"))


def test_functions_run_the_code_of_a_folder_that_need_not_be_one(make_function: MakeFolder, images: Path) -> None:
    (images / "orders").mkdir()
    (images / "orders" / "handlers.py").write_text("def read(e, c): ...\ndef write(e, c): ...\n")
    (images / "orders" / "requirements.txt").touch()
    for name in ("read", "write"):
        (images / name).mkdir()
        (images / name / "function.toml").write_text(f'code = "orders"\nhandler = "handlers.{name}"\n')
    read, write = find_sources(images)
    assert (read.name, write.name) == ("read", "write")
    assert read.code_folder == write.code_folder == images / "orders"
    assert read.requirements == write.requirements == images / "orders" / "requirements.txt"


@pytest.mark.parametrize(
    ("line", "files", "said"),
    [
        ('code = "order"', {}, "order is no folder beside read; did you mean orders?"),
        ('code = "../images/orders"', {}, "'../images/orders' is no folder beside read"),
        (f'code = "{"o" * 300}"', {}, "is no folder beside read"),
        ('code = "read"', {}, "it names its own folder"),
        ('code = "common"', {}, "common is a shared package"),
        (
            'code = "orders"',
            {"handler.py": "", "requirements.txt": ""},
            "handler.py, requirements.txt of read would not",
        ),
        ('code = "orders"\nimage = "oci:x"', {}, "it has a handler and an image"),
    ],
)
def test_code_that_cannot_be_run(images: Path, line: str, files: dict[str, str], said: str) -> None:
    for place in ("orders/handlers.py", "common/__init__.py", "read/function.toml"):
        (images / place).parent.mkdir()
        (images / place).write_text("def read(e, c): ...\n")
    (images / "read" / "function.toml").write_text(f'handler = "handlers.read"\n{line}\n')
    for name, text in files.items():
        (images / "read" / name).write_text(text)
    with pytest.raises(SourceError) as error:
        find_sources(images)
    assert said.replace("'", "") in error.value.why.replace("'", "")


@pytest.mark.parametrize(
    "code",
    [
        "async def handle(e, c): ...",
        "handle = print",
        "handle: object = print",
        "from other import handle",
        "from other import other as handle",
        "try:\n    import x\nexcept ImportError:\n    def handle(e, c): ...",
        "if True:\n    def handle(e, c): ...",
    ],
)
def test_every_way_to_bind_a_handler_is_known(make_function: MakeFolder, images: Path, code: str) -> None:
    make_function(files={"handler.py": code})
    assert find_sources(images)[0].handler == "handler.handle"


def _toml(line: str) -> dict[str, str]:
    return {"function.toml": FUNCTION_TOML + line}


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        ("Upper", {}, "'Upper'"),
        ("under_score", {}, "'under_score'"),
        ("double--hyphen", {}, "'double--hyphen'"),
        ("trailing-", {}, "'trailing-'"),
        ("9lives", {}, "'9lives'"),
        ("größe", {}, "'größe'"),
        ("a" * 48, {}, "48 characters"),
        ("f", {"function.toml": "handler = "}, "f/function.toml: Invalid value"),
        ("f", {"function.toml": b"\xff\xfe"}, "f/function.toml: 'utf-8'"),
        ("f", {"function.toml": "memory = 512"}, "f/function.toml: it has no handler"),
        ("f", _toml("memori = 512"), "memori: no such key; did you mean memory?"),
        ("f", _toml('memory = "512"'), "Expected `int`"),
        ("f", _toml("memory = 127"), "memory = 127"),
        ("f", _toml("memory = 10241"), "memory = 10241"),
        ("f", _toml("timeout = 0"), "timeout = 0"),
        ("f", _toml("timeout = 901"), "timeout = 901"),
        ("f", _toml(f'description = "{"x" * 257}"'), "257 characters"),
        ("f", _toml('[[calls]]\nservice="dynamo"\nactions=["Query"]\nresource="t"'), "did you mean dynamodb?"),
        ("f", _toml('[[calls]]\nservice="dynamodb"\nactions=[]\nresource="t"'), "names no action"),
        ("f", _toml('[[calls]]\nservice="dynamodb"\nactions=["dynamodb:Query"]\nresource="t"'), "'dynamodb:Query'"),
        ("f", _toml('[[calls]]\nservice="dynamodb"\nactions=["Query"]\nresource=""'), "names no resource"),
        ("f", _toml('[environment]\nAWS_REGION = "x"'), "reserved by Lambda"),
        ("f", _toml('[environment]\n"9A" = "x"'), "'9A'"),
        ("f", _toml('[environment]\nENVIRONMENT = "x"'), "set by the pipeline stack"),
        ("f", _toml(f'[environment]\nBIG = "{"x" * 4100}"'), "4103 bytes"),
        ("f", {"handler.py": None}, "there is neither handler.py nor handler/__init__.py"),
        ("f", {"handler.py": "def other(e, c): ..."}, "defines no handle"),
        ("f", {"handler.py": "def handle(e, c:"}, "is no Python that this version reads"),
        ("f", {"handler.py": "def outer():\n    def handle(e, c): ..."}, "defines no handle"),
        ("f", {"function.toml": 'handler = "handle"'}, "not written like"),
        ("f", {"function.toml": 'handler = "../x.handle"'}, "not written like"),
        ("f", {".dockerignore": "*.py"}, "handler.py is not shipped"),
        ("f", {".dockerignore": "["}, ".dockerignore cannot be used"),
        ("f", {"requirements.in": "boto3"}, "no requirements.txt beside it"),
        ("f", {"function.toml": None}, "f: it has no function.toml"),
    ],
)
def test_a_folder_that_cannot_become_an_image_says_why(
    make_function: MakeFolder, images: Path, name: str, files: dict[str, str | bytes | None], said: str
) -> None:
    make_function(name, files)
    with pytest.raises(SourceError) as caught:
        find_sources(images)
    assert said in str(caught.value)
    assert name in caught.value.why


def test_all_findings_of_all_folders_come_at_once(make_function: MakeFolder, images: Path) -> None:
    make_function("one", _toml("memory = 1\ntimeout = 0"))
    make_function("two", {"handler.py": None})
    make_function("three")
    make_function("four", _toml('memori = 1\ntimeout = "1"'))
    with pytest.raises(SourceError) as caught:
        find_sources(images)
    assert "5 things are wrong" in caught.value.why
    for part in (
        "one/function.toml: memory",
        "one/function.toml: timeout",
        "two: handler",
        "four/function.toml: memori: no",
        "four/function.toml: timeout: Expected `int`, got `str`",
    ):
        assert part in caught.value.why
    assert "three" not in caught.value.why


def test_two_names_with_one_logical_id_are_refused(make_function: MakeFolder, images: Path) -> None:
    make_function("a-1")
    make_function("a1")
    with pytest.raises(SourceError, match="like a-1"):
        find_sources(images)


def test_a_module_that_hides_the_shared_package_is_refused(make_function: MakeFolder, images: Path) -> None:
    make_function(files={"common.py": ""})
    (images / "common").mkdir()
    (images / "common" / "__init__.py").touch()
    with pytest.raises(SourceError, match="hide the shared package common"):
        find_sources(images)


@pytest.mark.parametrize("make", [lambda images: None, lambda images: images.rmdir()])
def test_a_place_without_functions_is_an_error(images: Path, make: object) -> None:
    make(images)  # type: ignore[operator]
    with pytest.raises(SourceError, match="no functions were found"):
        find_sources(images)


def test_code_for_a_newer_python_is_not_refused(make_function: MakeFolder, images: Path) -> None:
    make_function(files={"handler.py": f"type New = syntax of tomorrow\n{HANDLER}"})
    assert find_sources(images, python=PythonVersion(3, 99))
    with pytest.raises(SourceError):
        find_sources(images)
