"""What is known before a debugger is waited for."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import LocalError
from pipeline.local.debugger import debug_start
from pipeline.local.debugger.debugging import differing_files, find_debugpy, require_port


def test_files_that_are_not_what_runs_are_named(tmp_path: Path) -> None:
    local, runs = tmp_path / "one", tmp_path / "runs"
    for folder in (local, runs):
        folder.mkdir()
        (folder / "same.py").write_text("x = 1\n")
    (local / "new.py").write_text("")
    (local / "changed.py").write_text("x = 1\n")
    (runs / "changed.py").write_text("x = 2\n")
    (local / "test_x.py").write_text("")
    assert differing_files([(local, runs)]) == ("one/changed.py", "one/new.py")


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"port {port} is taken"):
            require_port(port)
    require_port(port)


def test_a_function_sees_debugpy_and_nothing_else_of_this_environment(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "import importlib.util, json, sys\n"
        "names = ['debugpy', 'click', 'pipeline', 'workers', 'beside']\n"
        "print(json.dumps([sys.argv, [name for name in names if importlib.util.find_spec(name)]]))\n"
    )
    (tmp_path / "beside.py").write_text("")
    start = "import sys, runpy; sys.argv = sys.argv[1:]; import debug_start as d; d.load_debugpy(sys.argv[0])\n"
    code = start + "sys.argv = sys.argv[1:]; runpy.run_module('module', run_name='__main__', alter_sys=True)"
    script = tmp_path / "start.py"
    script.write_text(f"import sys; sys.path.insert(1, {str(Path(debug_start.__file__).parent)!r})\n{code}\n"
                      .replace("import debug_start as d;", "import debug_start as d; del sys.path[1];"))  # fmt: skip
    done = subprocess.run(
        [getattr(sys, "_base_executable", sys.executable), "-S", "-X", "frozen_modules=off", str(script),
         str(find_debugpy()), "module", "argument"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    arguments, seen = json.loads(done.stdout)
    assert arguments[1:] == ["argument"]
    assert seen == ["debugpy", "beside"]
