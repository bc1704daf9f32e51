"""Wheels out of folders, as any packer would make them, with the same bytes on every machine."""

from __future__ import annotations

import base64
import hashlib
import shutil
import zipfile
from pathlib import Path


def pack_wheel(folder: Path, out: Path, *, tag: str = "py3-none-any", version: str = "1.0") -> str:
    """Pack the files below ``folder`` as ``version`` of the distribution of its name; its line of a lock."""
    out.mkdir(parents=True, exist_ok=True)
    name = folder.name.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    contents[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {folder.name}\nVersion: {version}\n".encode()
    contents[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    rows = []
    for path, content in sorted(contents.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(content)}\n")
    contents[f"{info}/RECORD"] = ("".join(rows) + f"{info}/RECORD,,\n").encode()
    wheel = out / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in sorted(contents.items()):
            archive.writestr(zipfile.ZipInfo(path), content)
    return f"{folder.name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def copy_project(project: Path, place: Path) -> Path:
    """A copy of a tiny project that a test may add to."""
    return shutil.copytree(project, place, ignore=shutil.ignore_patterns("__pycache__"))
