"""Function folders and stores for the tests of the build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cfn.settings import Architecture
from pipeline.assembly.model import Platform, PythonVersion

MakeFolder = Callable[..., Path]
FUNCTION_TOML = 'handler = "handler.handle"\n'
HANDLER = "def handle(event, context):\n    return event\n"


@pytest.fixture
def platform() -> Platform:
    return Platform(Architecture.ARM64, PythonVersion(3, 13))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


@pytest.fixture
def make_function(images: Path) -> MakeFolder:
    """Make ``images/<name>`` with a good function.toml and handler.py, unless ``files`` says otherwise."""

    def make(name: str = "a-function", files: Mapping[str, str | bytes | None] | None = None) -> Path:
        folder = images / name
        for path, content in {"function.toml": FUNCTION_TOML, "handler.py": HANDLER, **(files or {})}.items():
            if content is None:
                continue
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return make
