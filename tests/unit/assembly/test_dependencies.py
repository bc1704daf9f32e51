"""Locks: what counts as hash-locked, and what is said of one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.assembly.dependencies.installation import read_lock
from pipeline.core.errors import DependencyError

A, B = "a" * 64, "b" * 64


def _lock(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "a-function" / "requirements.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_compiled_lock_is_read(tmp_path: Path) -> None:
    text = f"""# written by a tool
--index-url https://index.example/simple
Typing_Extensions==4.16.0 ; python_full_version < '3.13' \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
    # via something
pkg[extra]==1.0+local --hash=sha256:{A}  # why
direct @ https://files.example/direct-1.0-py3-none-any.whl --hash=sha256:{B}
"""
    first, second, third = read_lock(_lock(tmp_path, text)).packages
    assert (first.name, first.version, first.hashes) == ("typing-extensions", "4.16.0", (A, B))
    assert first.marker == "python_full_version < '3.13'"
    assert (second.name, second.version) == ("pkg", "1.0+local")
    assert (third.name, third.version, third.url) == ("direct", "", "https://files.example/direct-1.0-py3-none-any.whl")


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing needed\n"])
def test_a_lock_may_be_empty(tmp_path: Path, text: str) -> None:
    assert read_lock(_lock(tmp_path, text)).packages == ()


def test_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    text = f"a==1 \\\r\n    --hash=sha256:{A}\r\n"
    assert read_lock(_lock(tmp_path, text)).packages[0].version == "1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("boto3", "line 1: 'boto3' is not pinned with =="),
        (f"boto3>=1.0 --hash=sha256:{A}", "'boto3>=1.0' is not pinned"),
        (f"boto3==1.* --hash=sha256:{A}", "'boto3==1.*' is not pinned"),
        ("boto3==1.0", "boto3 has no hash"),
        ("boto3==1.0 --hash=md5:abc", "boto3 has no hash"),
        (f"boto3==1.0 --hash=sha256:{A[:-1]}", "boto3 has no hash, or one that is not 64"),
        (f"boto3==1.0 --hash=sha256:{A} --hash=sha256:xyz", "boto3 has no hash, or one"),
        ("-e ../mine", "option -e"),
        ("-r other.txt", "option -r"),
        ("--constraint=other.txt", "option --constraint"),
        (f"ok==1 --hash=sha256:{A}\n\nbad\nworse", "line 3: 'bad' is not pinned with ==; line 4: 'worse'"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_line_that_pins_nothing_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(DependencyError) as caught:
        read_lock(_lock(tmp_path, text))
    assert said in caught.value.why
    assert "a-function" in caught.value.what
    assert "uv pip compile" in str(caught.value.next_step)
