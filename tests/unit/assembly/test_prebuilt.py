"""``image`` of function.toml: what can be named, and what may lie beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.assembly.model import EngineImage, LayoutImage
from pipeline.assembly.prebuilt import parse_prebuilt
from pipeline.assembly.sources import find_sources
from pipeline.core.errors import SourceError
from pipeline.oci.values import ImageReference
from tests.unit.assembly.conftest import MakeFolder

DIGEST = f"sha256:{'a' * 64}"
IMAGE = f'image = "registry.example/team/app@{DIGEST}"\n'


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"registry.example/team/app@{DIGEST}", ImageReference.parse(f"registry.example/team/app@{DIGEST}")),
        (f"docker://127.0.0.1:5000/app:1@{DIGEST}", ImageReference.parse(f"127.0.0.1:5000/app:1@{DIGEST}")),
        ("registry.example/app:1", ImageReference.parse("registry.example/app:1")),  # its registry knows the digest
        ("oci:layout", LayoutImage(Path("/project/images/f/layout"))),
        ("oci:../../build:app", LayoutImage(Path("/project/images/f/../../build"), "app")),
        ("oci:/elsewhere", LayoutImage(Path("/elsewhere"))),
        ("docker-daemon:app:latest", EngineImage("app:latest")),
    ],
)
def test_an_image_is_in_a_registry_a_layout_or_an_engine(text: str, place: object) -> None:
    found = parse_prebuilt(text, Path("/project/images/f"))
    assert (found.written, found.place) == (text, place)


def test_a_layout_in_the_home_folder_is_found_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_prebuilt("oci:~/layout", Path("/f")).place == LayoutImage(tmp_path / "layout")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("app", "names no registry"),
        (f"library/node@{DIGEST}", "docker.io/library/NAME"),
        ("registry.example/App", "lower-case"),
        ("registry.example/app@sha256:abc", "64 lower-case hexadecimal digits"),
        (f"registry.example/app@{DIGEST}@{DIGEST}", "64 lower-case hexadecimal digits"),
        ("oci:", "needs the folder"),
        ("oci:a\0b", "cannot be printed"),
        ("docker-daemon:", "needs the name"),
        ("docker-archive:image.tar", "neither in a registry nor an OCI layout"),
        ("oci-archive:image.tar", "skopeo"),
    ],
)
def test_what_names_no_image_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_prebuilt(text, Path("/f"))


def test_a_function_with_an_image_needs_no_code(make_function: MakeFolder, images: Path) -> None:
    beside = {"function.toml": IMAGE, "handler.py": None, "README.md": "", "events/smoke.json": "{}"}
    make_function("f", beside)
    shared = images / "shared"
    shared.mkdir()
    (shared / "__init__.py").touch()
    (source,) = find_sources(images)
    assert source.prebuilt is not None
    assert (source.handler, source.requirements, source.shared) == ("", None, ())
    assert source.smoke is not None


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"function.toml": IMAGE}, "f: its image exists already, so handler.py would not ship"),
        (
            {"function.toml": IMAGE, "handler.py": None, "Dockerfile": "FROM x", "requirements.txt": ""},
            "so Dockerfile, requirements.txt would not ship",
        ),
        ({"function.toml": f'{IMAGE}handler = "handler.handle"\n'}, "f/function.toml: it has a handler and an image"),
        ({"function.toml": "memory = 512"}, "no handler, no image that exists already, and no Dockerfile"),
        ({"function.toml": 'image = "app"', "handler.py": None}, "f/function.toml: image: app names no registry"),
    ],
)
def test_what_would_be_ignored_is_an_error(
    make_function: MakeFolder, images: Path, files: dict[str, str | None], said: str
) -> None:
    make_function("f", files)
    with pytest.raises(SourceError) as caught:
        find_sources(images)
    assert said in caught.value.why


def test_a_line_in_dockerignore_confirms_what_stays_out(make_function: MakeFolder, images: Path) -> None:
    make_function("f", {"function.toml": IMAGE, ".dockerignore": "handler.py\n"})
    assert find_sources(images)[0].prebuilt is not None
