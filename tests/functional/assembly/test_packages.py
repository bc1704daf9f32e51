"""Tiny projects, each one case of what must ship and what must be refused; ``expected.toml`` says which.

error    parts of the one message that the build must end with
shipped  every file below /var/task, without the metadata of distributions
notes    parts of what is reported besides; nothing else is
wheels   folders of the project's ``wheels`` that are packed as wheels and locked
"""

from __future__ import annotations

import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cfn.settings import Architecture
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.layers import lay_out
from pipeline.assembly.model import Platform, PythonVersion
from pipeline.assembly.sources import find_sources
from pipeline.core.errors import PipelineError
from pipeline.core.events import Event, Note
from pipeline.oci.blobs import BlobStore
from tests.functional.assembly.wheels import copy_project, pack_wheel

PACKAGES = Path(__file__).resolve().parents[2] / "packages"
CASES = sorted(path.parent.name for path in PACKAGES.glob("*/expected.toml"))
ARM = Platform(Architecture.ARM64, PythonVersion(3, 13))


@pytest.fixture
def expected(case: str) -> dict[str, Any]:
    return tomllib.loads((PACKAGES / case / "expected.toml").read_text())


@pytest.mark.parametrize("case", CASES)
def test_what_ships_is_what_was_meant(
    case: str, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copy_project(PACKAGES / case, tmp_path / "project")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "dist"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    lines = [pack_wheel(project / "wheels" / name, tmp_path / "dist") for name in expected.get("wheels", ())]
    if lines:
        (project / "images" / "alpha" / "requirements.txt").write_text("".join(lines))
    store, events = BlobStore(tmp_path / "store"), list[Event]()
    shipped: set[str] = set()
    try:
        sources = find_sources(project / "images")
        (source,) = (each for each in sources if each.name == "alpha")
        layers = lay_out(source, ARM, store, slim=Slim.for_sources(sources), report=events.append)
        for layer in layers:
            with tarfile.open(store.path(layer.descriptor.digest)) as tar:
                shipped |= {each.name.removeprefix("var/task/") for each in tar.getmembers() if not each.isdir()}
        said = ""
    except PipelineError as error:
        said = str(error)
    assert bool(said) == ("error" in expected), said or "it was built"
    assert [part for part in expected.get("error", ()) if part not in said] == [], said
    if said:
        return
    assert sorted(each for each in shipped if ".dist-info/" not in each) == expected["shipped"]
    notes = [each.text for each in events if isinstance(each, Note)]
    wanted = expected.get("notes", [])
    assert len(notes) == len(wanted), notes
    assert all(part in note for part, note in zip(wanted, notes, strict=True)), notes
