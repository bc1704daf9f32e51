"""Links, paths, commands, options and modules that README.md and docs/ name exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bootstrap import main
from commands.usage import MODULES
from tests.unit.test_structure import FLOORS, modules

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TOP = r"(?:audit|benchmarks|cfn|commands|compose|docs|images|pipeline|tests)/"
# Stand for any name.
ANY_NAME = re.compile(r"\b(?:NAME|DIR|FUNCTION)\b")


def pages() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def code(page: Path) -> Iterator[str]:
    """Code spans, and the lines of code blocks without their comments."""
    text = page.read_text()
    for block in re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from (line.partition("  #")[0].strip().removeprefix("$ ") for line in block.splitlines())
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pages()
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pages()
def test_paths_exist(page: Path) -> None:
    for text in code(page):
        for path in re.findall(rf"(?<![\w./{{-]){TOP}[\w./*-]*", text):
            if not ANY_NAME.search(path) and not re.search(rf"{re.escape(path)}[<{{]", text):
                found = list(ROOT.glob(path.rstrip("/."))) if "*" in path else [ROOT / path.rstrip("/.")]
                assert found, path
                assert all(each.exists() for each in found), path


@pages()
def test_modules_exist(page: Path) -> None:
    known = modules()
    for text in code(page):
        for name in re.findall(r"(?<![\w./-])(?:cfn|commands|pipeline)(?:\.[a-z_]+)+(?![\w.]*\()", text):
            module = name if name in known or name.count(".") == 1 else name.rpartition(".")[0]
            if not name.endswith((".json", ".toml", ".py", ".csv")):
                assert module in known, name


@pages()
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for text in code(page):
        for target in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)", text):
            assert target in targets, text


def usages(text: str) -> Iterator[tuple[click.Command, str]]:
    """Each (command, arguments) in a text, such as ``./bootstrap.py rollback --to 3`` or ``rollback --to 3``."""
    for line in re.split(r"\s(?:\||&&|then)\s", text):
        words = line.removeprefix("./bootstrap.py").removeprefix("python bootstrap.py").split()
        if words and words[0] in MODULES:
            command = main.get_command(click.Context(main), words[0])
            assert command is not None
            yield command, " ".join(words[1:])
        else:
            assert not line.startswith("./bootstrap.py") or not words or words[0].startswith(("-", "…")), text


@pages()
def test_commands_and_options_exist(page: Path) -> None:
    for text in code(page):
        if "://" in text or "`" in text:
            continue
        for command, arguments in usages(text):
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            for option in re.findall(r"(?:^|[\s\[])(--[a-z][a-z-]*)", arguments):
                assert option in known | {"--help"}, f"{command.name} has no {option}: {text}"


def test_every_command_is_in_the_readme() -> None:
    table = (ROOT / "README.md").read_text()
    assert [name for name in MODULES if not re.search(rf"^\|.*`{name}\b", table, re.MULTILINE)] == []


def test_the_architecture_page_shows_the_order_of_folders() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert tuple(re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE)) == FLOORS


def test_the_checks_find_what_is_missing(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text, check in (
        ("[a](gone.md)", test_links_lead_somewhere),
        ("[a](#gone)", test_links_lead_somewhere),
        ("`pipeline/gone.py`", test_paths_exist),
        ("`tests/unit/gone*/`", test_paths_exist),
        ("`pipeline.gone.check`", test_modules_exist),
        ("```sh\nmake gone  # text\n```", test_make_targets_exist),
        ("`up --gone`", test_commands_and_options_exist),
        ("```\n$ ./bootstrap.py gone\n```", test_commands_and_options_exist),
    ):
        page.write_text(f"# Page\n{text}\n")
        with pytest.raises(AssertionError):
            check(page)
