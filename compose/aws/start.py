"""Runs a command of the project in a Python environment made of the packages beside this file.

Which Python the base has, and where, is the base's affair; and what the embedded AWS starts with that Python must find
the packages too. So an environment is put together at start: a link to the interpreter and a path to the packages.
"""

import os
import pathlib
import sys

PROJECT = pathlib.Path(__file__).parent
place = pathlib.Path("/tmp/python")  # noqa: S108 — a tmpfs of the container
packages = place / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
if not packages.exists():
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "python3").symlink_to(sys.executable)
    (place / "pyvenv.cfg").write_text(f"home = {pathlib.Path(sys.executable).parent}\n")
    packages.mkdir(parents=True)
    (packages / "project.pth").write_text(f"{PROJECT}\n{PROJECT / 'site-packages'}\n")
python = str(place / "bin" / "python3")
os.execv(python, [python, *sys.argv[1:]])
