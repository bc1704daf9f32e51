"""The rules of .dockerignore, as Docker's own documentation and matcher have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.assembly.ignore import IgnoreRules, read_rules
from pipeline.core.errors import SourceError


@pytest.mark.parametrize(
    ("lines", "path", "ignored"),
    [
        # Docker's build reference.
        (["*/temp*"], "somedir/temporary.txt", True),
        (["*/temp*"], "somedir/temp", True),
        (["*/temp*"], "somedir/subdir/temporary.txt", False),
        (["*/*/temp*"], "somedir/subdir/temporary.txt", True),
        (["temp?"], "tempa", True),
        (["temp?"], "temp", False),
        (["**/*.go"], "a/b/c.go", True),
        (["**/*.go"], "c.go", True),
        (["*.md", "!README.md"], "README.md", False),
        (["*.md", "!README.md"], "notes.md", True),
        (["*.md", "!README*.md", "README-secret.md"], "README-secret.md", True),
        (["*.md", "README-secret.md", "!README*.md"], "README-secret.md", False),
        # Anchored at the folder, unlike Git's.
        (["notes.txt"], "notes.txt", True),
        (["notes.txt"], "deep/notes.txt", False),
        (["/notes.txt"], "notes.txt", True),
        (["docs/"], "docs/a.md", True),
        (["./docs//api"], "docs/api/x", True),
        (["a/../docs"], "docs", True),
        (["../docs"], "docs", False),
        (["/../docs"], "docs", True),
        (["../../docs"], "docs", False),
        (["docs/**"], "docs/a/b", True),
        (["docs/**"], "docs", False),
        (["**"], "anything/at/all", True),
        (["**foo"], "a/b/foo", True),
        (["**foo"], "a/b/xfoo", False),
        (["a/**/b"], "a/b", True),
        (["a/**/b"], "a/x/y/b", True),
        (["[a-c].txt"], "b.txt", True),
        (["[^a-c].txt"], "b.txt", False),
        (["[^a-c].txt"], "d.txt", True),
        ([r"\*.txt"], "*.txt", True),
        ([r"\*.txt"], "a.txt", False),
        (["a.c"], "abc", False),
        (["# a comment", "", "  spaced.txt  "], "spaced.txt", True),
        (["#name"], "#name", False),
        (["dir", "!dir/keep.txt"], "dir/keep.txt", False),
        (["dir", "!dir/keep.txt"], "dir/other.txt", True),
        (["a\nb"], "a\nb", True),
    ],
)
def test_matches_like_docker(lines: list[str], path: str, ignored: bool) -> None:
    assert IgnoreRules.parse(lines).ignores(path) is ignored


@pytest.mark.parametrize("pattern", ["[", "a[b", "[z-a]"])
def test_a_broken_pattern_is_named(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|without"):
        IgnoreRules.parse([pattern])


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "conf/.env.prod",
        ".envrc",
        ".docker/config.json",
        ".pgpass",
        "server.pem",
        "keys/id_rsa",
        "keys/id_ed25519.pub",
        ".aws/credentials",
        "__pycache__/handler.cpython-313.pyc",
        "deep/er/__pycache__/x.pyc",
        ".mypy_cache/3.11/a.json",
        ".pytest_cache/v",
        ".git/HEAD",
        "tests/test_handler.py",
        "test_handler.py",
        "function.toml",
        "Dockerfile",
        "requirements.in",
        "requirements.txt",
        ".dockerignore",
        ".venv/bin/python",
    ],
)
def test_caches_tests_and_secrets_are_left_out_unasked(tmp_path: Path, path: str) -> None:
    assert read_rules(tmp_path).ignores(path)


@pytest.mark.parametrize(
    "path", ["handler.py", "rules/2026.json", "latest.py", "contest.py", "environment.py", "keys.py"]
)
def test_code_and_data_are_shipped(tmp_path: Path, path: str) -> None:
    assert not read_rules(tmp_path).ignores(path)


def test_a_folder_can_take_a_built_in_rule_back(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("!public.pem\n")
    rules = read_rules(tmp_path)
    assert (rules.ignores("public.pem"), rules.ignores("private.pem")) == (False, True)


def test_lines_end_where_docker_ends_them(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_bytes("\ufeffa\x0bb\r\nc\u2028d\n".encode())
    rules = read_rules(tmp_path)
    assert [rules.ignores(path) for path in ("a\x0bb", "c\u2028d", "a", "d")] == [True, True, False, False]


def test_an_unusable_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("[\n")
    with pytest.raises(SourceError, match=r"\.dockerignore"):
        read_rules(tmp_path)


def test_a_link_to_nothing_is_not_no_file(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").symlink_to(tmp_path / "gone")
    with pytest.raises(SourceError, match="it is a link to a missing file"):
        read_rules(tmp_path)
