"""Dependencies that a function declares for another tool, where it has no lock that is used here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core.documents import parse_toml

_LOCK = "requirements.txt"
_EXPORT_UV = f"uv export --frozen --no-emit-project --no-default-groups --output-file {_LOCK}"
_COMPILE = "uv pip compile --universal --generate-hashes {} -o " + _LOCK
# File → the command that writes a requirements file with hashes from it; the first that is there counts.
_COMMANDS = {
    "uv.lock": _EXPORT_UV,
    "poetry.lock": f"poetry export --output {_LOCK}",
    "pdm.lock": f"pdm export --prod --output {_LOCK}",
    "Pipfile.lock": f"pipenv requirements --hash > {_LOCK}",
    "pylock.toml": _COMPILE.format("pyproject.toml"),
    "requirements.in": _COMPILE.format("requirements.in"),
}


def foreign_lock(folder: Path) -> str:
    """What to do about dependencies in ``folder`` that no ``requirements.txt`` locks; "" if it declares none."""
    for name, command in _COMMANDS.items():
        if (folder / name).is_file():
            return f"{name} has no {_LOCK} beside it, the lock that is used; write it with `{command}`"
    if _declares(folder / "pyproject.toml", _of_project):
        command = _COMPILE.format("pyproject.toml")
        return f"the dependencies of pyproject.toml are not locked in {_LOCK}; write it with `{command}`"
    if _declares(folder / "Pipfile", lambda document: bool(document.get("packages"))):
        return f"the packages of Pipfile are not locked in {_LOCK}; write it with `{_COMMANDS['Pipfile.lock']}`"
    return ""


def _declares(path: Path, judge: Any) -> bool:
    try:
        return bool(judge(parse_toml(path.read_bytes())))
    except (OSError, ValueError, AttributeError):
        return False


def _of_project(document: dict[str, Any]) -> bool:
    poetry = document.get("tool", {}).get("poetry", {}).get("dependencies", {})
    return bool(document.get("project", {}).get("dependencies")) or bool(set(poetry) - {"python"})
