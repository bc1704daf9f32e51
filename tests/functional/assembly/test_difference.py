"""What is said of two images that differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cfn.settings import Architecture, FunctionDefinition
from pipeline.assembly.build import build_image
from pipeline.assembly.difference import Compared, compare, compared_image, titles
from pipeline.assembly.image import empty_base
from pipeline.assembly.model import Base, FunctionSource, Platform, PythonVersion
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import TarEntry, store_layer
from pipeline.release.image_changes import difference_lines
from tests.functional.assembly.wheels import pack_wheel
from tests.servers.images import make_image, make_layer

ARM = Platform(Architecture.ARM64, PythonVersion(3, 13))


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


def _base(store: BlobStore, *contents: str) -> Base:
    entries = [[TarEntry("etc/os-release", "file", each.encode(), len(each))] for each in contents]
    layers = tuple(store_layer(store, each, "base") for each in entries)
    config = json.loads(empty_base(ARM).config)
    config["rootfs"]["diff_ids"] = [str(layer.diff_id) for layer in layers]
    return Base(json.dumps(config).encode(), layers)


@pytest.fixture
def make(tmp_path: Path, store: BlobStore, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    for name, value in {"UV_NO_INDEX": "1", "UV_NO_CONFIG": "1", "UV_CACHE_DIR": str(tmp_path / "uv")}.items():
        monkeypatch.setenv(name, value)
    count = iter(range(100))

    def build(
        files: Mapping[str, str], wheels: Mapping[str, Mapping[str, str]] | None = None, base: Base | None = None,
        handler: str = "handler.handle",
    ) -> Compared:  # fmt: skip
        place = tmp_path / str(next(count))
        folder = place / "f"
        for path, content in {"handler.py": "def handle(event, context): ...\n", **files}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content)
        lines = []
        for pin, inside in (wheels or {}).items():
            name, _, version = pin.partition("==")
            for path, content in inside.items():
                (place / "wheels" / name / path).parent.mkdir(parents=True, exist_ok=True)
                (place / "wheels" / name / path).write_text(content)
            lines.append(pack_wheel(place / "wheels" / name, place / "dist", version=version))
        monkeypatch.setenv("UV_FIND_LINKS", str(place / "dist"))
        lock = folder / "requirements.txt" if lines else None
        if lock is not None:
            lock.write_text("".join(lines))
        source = FunctionSource(FunctionDefinition("f"), folder, handler, lock)
        return compared_image(build_image(source, ARM, base or _base(store, "one"), store), store)

    return build


def test_equal_images_have_no_difference(make) -> None:  # type: ignore[no-untyped-def]
    found = compare(make({}), make({}))
    assert not found
    assert found.summary() == "nothing"
    assert difference_lines("f", found) == ["f: the same"]


def test_files_of_a_layer_are_named(make) -> None:  # type: ignore[no-untyped-def]
    found = compare(make({"a.py": "1", "b.py": "", "same.py": ""}), make({"a.py": "2", "c.py": "", "same.py": ""}))
    (layer,) = found.layers
    assert (layer.layer, layer.added, layer.removed, layer.changed) == ("function", ("c.py",), ("b.py",), ("a.py",))
    assert found.summary() == "3 files (a.py, b.py, c.py)"


def test_a_package_is_named_by_its_versions_and_not_by_its_files(make) -> None:  # type: ignore[no-untyped-def]
    before = make({}, {"tool-kit==1.0": {"tool_kit/a.py": "1"}, "gone==1.0": {"gone.py": ""}})
    after = make({"new.txt": ""}, {"tool-kit==1.1": {"tool_kit/a.py": "2"}, "extra==2.0": {"extra.py": ""}})
    found = compare(before, after)
    assert [str(each) for each in found.packages] == ["extra added (2.0)", "gone removed (1.0)", "tool-kit 1.0 → 1.1"]
    assert [layer.layer for layer in found.layers] == ["function"]
    assert found.summary() == "1 file (new.txt); extra added (2.0), gone removed (1.0), tool-kit 1.0 → 1.1"


def test_base_and_config_are_named(make, store: BlobStore) -> None:  # type: ignore[no-untyped-def]
    other = make(
        {"handler.py": "def other(event, context): ...\n"}, base=_base(store, "one", "two"), handler="handler.other"
    )
    found = compare(make({"handler.py": "def other(event, context): ...\n"}), other)
    assert found.base == "another base (1 of 2 layers)"
    assert found.settings == ("Cmd: ['handler.handle'] → ['handler.other']",)
    assert found.summary() == "another base (1 of 2 layers); Cmd"


def test_images_that_were_not_built_here_are_compared_file_by_file(store: BlobStore) -> None:
    def image(*layers: Mapping[str, str]) -> Compared:
        made = [make_layer({path: text.encode() for path, text in each.items()}, store) for each in layers]
        return compared_image(make_image("f", made).image, store)

    system = {"usr/bin/node": "22"}
    before = image(system, {"var/task/index.js": "1", "var/task/same.js": ""})
    after = image(system, {"var/task/index.js": "2", "var/task/same.js": ""}, {"usr/bin/jq": ""})
    found = compare(before, after)
    (layer,) = found.layers
    assert (layer.layer, layer.added, layer.changed) == ("image", ("usr/bin/jq",), ("index.js",))
    assert found.summary() == "2 files (index.js, usr/bin/jq)"
    assert not compare(before, before)
    assert compare(before, after, most=10).summary() == "the image layer"


def test_a_layer_that_is_too_large_to_fetch_is_named_unread(make) -> None:  # type: ignore[no-untyped-def]
    one, other = make({"a": "1"}), make({"a": "2"})
    unopened = replace(one, layers=tuple(replace(each, open=lambda: pytest.fail("opened")) for each in one.layers))
    assert compare(unopened, other, most=10).summary() == "the function layer"


def test_titles_are_read_from_the_history_of_a_config(make) -> None:  # type: ignore[no-untyped-def]
    image = make({}, {"tool==1.0": {"tool.py": ""}})
    assert titles(image.config, 3) == ["base", "dependencies", "function"]
    assert titles(image.config, 2) == ["base", "base"]
    assert titles({}, 1) == ["base"]
