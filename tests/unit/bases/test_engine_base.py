"""A base of the engine where there is no engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.assembly.model import Platform, PythonVersion
from pipeline.bases.choose import choose_base
from pipeline.core.errors import LocalError
from pipeline.oci.blobs import BlobStore
from pipeline.target import host_architecture


def test_without_an_engine_it_is_said_what_else_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(LocalError, match="the base own:1 was not read from the engine") as caught:
        choose_base(
            "docker-daemon:own:1", Platform(host_architecture(), PythonVersion(3, 13)), BlobStore(tmp_path / "store")
        )
    assert "oci:DIR" in str(caught.value.next_step)
