"""``build --list``: every file is in one of the two lists, with its layer or its rule."""

from __future__ import annotations

from pathlib import Path

from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.listing import list_files
from pipeline.assembly.model import Platform
from pipeline.assembly.sources import find_sources
from pipeline.oci.blobs import BlobStore
from tests.unit.assembly.conftest import MakeFolder


def test_every_file_is_listed_with_its_layer_or_its_rule(
    make_function: MakeFolder, images: Path, store: BlobStore, platform: Platform
) -> None:
    make_function(
        "f",
        {
            "rules/a.json": "{}",
            "rules/test_a.py": "",
            "notes.md": "",
            ".venv/bin/python": "",
            "tests/kept.py": "",
            "tests/dropped.py": "",
            ".dockerignore": "*.md\n!tests/kept.py\n",
        },
    )
    (images / "common" / "tests").mkdir(parents=True)
    (images / "common" / "__init__.py").touch()
    (images / "common" / "tests" / "x.py").touch()
    found = list_files(find_sources(images)[0], platform, store, slim=Slim())
    assert [(each.layer, each.path) for each in found.shipped] == [
        ("shared", "common/__init__.py"),
        ("function", "handler.py"),
        ("function", "rules/a.json"),
        ("function", "tests/kept.py"),
    ]
    assert [(each.origin, each.path, each.rule) for each in found.left_out] == [
        ("common", "tests/", "the built-in rule **/tests"),
        ("function", ".dockerignore", "the built-in rule *.dockerignore"),
        ("function", ".venv/bin/python", "the built-in rule **/.venv"),
        ("function", "function.toml", "the built-in rule function.toml"),
        ("function", "notes.md", "*.md in .dockerignore"),
        ("function", "rules/test_a.py", "the built-in rule **/test_*.py"),
        ("function", "tests/dropped.py", "the built-in rule **/tests"),
    ]
