"""Run a command of the project in a virtual environment with the packages next to this file.

The location of the base's Python is not known in advance, and child processes of the embedded AWS need the packages
too, so the environment is created at start: a link to the interpreter and a path to the packages.
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
