"""How `docker buildx` is run, with a program of that name that does something else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cfn.settings import Architecture
from pipeline.assembly.model import Platform, PythonVersion
from pipeline.engine import run_build as builds
from pipeline.engine.build_output import BuildFailed
from pipeline.engine.run_build import BuildRequest, has_buildx, run_build

REQUEST = BuildRequest(
    cast(Any, SimpleNamespace(name="ocr", folder=Path("ocr"))),
    Platform(Architecture.ARM64, PythonVersion(3, 13)),
    None,
    "Do without it.",
)


class Engine:
    """The image is there after a build."""

    def version(self) -> dict[str, Any]:
        return {}

    def inspect_image(self, _name: str) -> dict[str, str]:
        return {"Id": "sha256:built"}

    def tag(self, *_arguments: str) -> None: ...

    def remove_image(self, _name: str) -> None: ...


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the program `docker` run these lines of shell."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")

    def make(lines: str) -> None:
        program = tmp_path / "docker"
        program.write_text(f"#!/bin/sh\n{lines}\n")
        program.chmod(0o755)

    return make


def build(content: bytes = b"context") -> str:
    with tempfile.TemporaryFile() as context:
        context.write(content)
        context.seek(0)
        return run_build(Engine(), REQUEST, context, buildx=True)


def test_the_context_is_the_input(docker: Callable[[str], None], tmp_path: Path) -> None:
    docker(f'cat > {tmp_path}/input; echo "$DOCKER_HOST" "$@" > {tmp_path}/arguments')
    assert build(b"x" * 300_000) == "sha256:built"
    assert (tmp_path / "input").read_bytes() == b"x" * 300_000
    arguments = (tmp_path / "arguments").read_text()
    assert arguments.startswith("unix:///nowhere.sock buildx build --builder=default --provenance=false")
    assert "--platform linux/arm64" in arguments


def test_a_build_without_an_end_is_given_up(docker: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    docker("exec sleep 60")
    monkeypatch.setattr(builds, "BUILD_SECONDS", 0.3)
    with pytest.raises(BuildFailed) as caught:
        build()
    assert "still building after" in caught.value.why


def test_an_error_is_the_builders(docker: Callable[[str], None]) -> None:
    docker("printf 'ERROR: failed to solve: no such base \\377\\n' >&2; exit 1")
    with pytest.raises(BuildFailed) as caught:
        build()
    assert "no such base" in caught.value.why


def test_a_docker_that_cannot_be_started_is_named(
    docker: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker("")
    monkeypatch.setenv("PATH", str(tmp_path))  # without a docker of this machine
    (tmp_path / "docker").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(BuildFailed, match="ocr was not built") as caught:
        build()
    assert "could not be started" in caught.value.why
    assert not has_buildx()


def test_a_docker_that_does_not_answer_has_no_buildx(
    docker: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    docker("exec sleep 60")
    monkeypatch.setattr(builds, "_VERSION_SECONDS", 0.1)
    assert not has_buildx()
