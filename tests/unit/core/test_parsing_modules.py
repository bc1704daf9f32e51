"""Reading Python modules: in threads, and what is no module."""

from __future__ import annotations

import ast
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.core.documents import parse_python


def test_threads_read_at_once() -> None:
    """An interpreter that counts the depth of all threads together fails after a switch within a tree."""
    content = b"x = [" + b"(1, [2, {3: 4}]), " * 2000 + b"]\n"
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            trees = list(pool.map(lambda number: parse_python(content, f"{number}.py"), range(24)))
    finally:
        sys.setswitchinterval(before)
    assert all(isinstance(each, ast.Module) for each in trees)


@pytest.mark.parametrize(
    ("content", "error"), [(b"def f(:", SyntaxError), (b"x = " + b"(" * 5000 + b")" * 5000, (SyntaxError, ValueError))]
)
def test_what_is_no_module_is_an_error(content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_python(content, "f.py")
