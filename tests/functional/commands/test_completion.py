"""bash completes this program's commands, options and values with the printed script."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.functional.command_line import ROOT


def completed(*words: str) -> list[str]:
    script = (
        'eval "$(bootstrap.py completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        ' _bootstrappy_completion "$1"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", "bootstrap.py", *words],
        env={**os.environ, "PATH": f"{ROOT}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("ro",), ["rollback"]),
        (("up", "--target", "a"), ["aws"]),
        (("up", "--no-sm"), ["--no-smoke"]),
        (("completion", "f"), ["fish"]),
        (("zzz",), []),
    ],
)
def test_bash_completes(words: tuple[str, ...], found: list[str]) -> None:
    assert completed(*words) == found


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_have_a_script_of_the_same_name(shell: str) -> None:
    done = subprocess.run(
        [ROOT / "bootstrap.py", "completion", shell], capture_output=True, text=True, timeout=60, check=True
    )
    assert "_BOOTSTRAP_PY_COMPLETE" in done.stdout
    assert f"{shell}_complete" in done.stdout
