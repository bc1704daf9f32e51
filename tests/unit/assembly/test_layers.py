"""What of a folder is shipped, and which files cannot be."""

from __future__ import annotations

import errno
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.assembly.layers import lay_out
from pipeline.assembly.model import Platform
from pipeline.assembly.own.collected import collect_files
from pipeline.assembly.sources import find_sources
from pipeline.core.errors import SourceError
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import Layer
from tests.unit.assembly.conftest import MakeFolder


def _names(store: BlobStore, layer: Layer) -> list[str]:
    with tarfile.open(store.path(layer.descriptor.digest)) as tar:
        return tar.getnames()


def test_layers_go_from_the_most_to_the_least_stable(
    make_function: MakeFolder, images: Path, store: BlobStore, platform: Platform
) -> None:
    make_function("f", {"rules/a.json": "{}", "function.toml": 'handler = "handler.handle"', ".env": "SECRET=1"})
    (images / "common").mkdir()
    (images / "common" / "__init__.py").touch()
    (images / "common" / "money.py").touch()
    shared, own = lay_out(find_sources(images)[0], platform, store)
    assert (shared.title, own.title) == ("shared", "function")
    assert _names(store, shared) == [
        "var",
        "var/task",
        "var/task/common",
        "var/task/common/__init__.py",
        "var/task/common/money.py",
    ]
    assert _names(store, own) == ["var", "var/task", "var/task/handler.py", "var/task/rules", "var/task/rules/a.json"]


def test_functions_with_the_same_shared_package_share_its_layer(
    make_function: MakeFolder, images: Path, store: BlobStore, platform: Platform
) -> None:
    for name in ("one", "two"):
        make_function(name, {"own.py": name})
    (images / "common").mkdir()
    (images / "common" / "__init__.py").touch()
    (one_shared, one), (two_shared, two) = (lay_out(source, platform, store) for source in find_sources(images))
    assert one_shared == two_shared
    assert one.descriptor.digest != two.descriptor.digest


def test_an_unchanged_layer_is_not_compressed_again(
    make_function: MakeFolder, images: Path, store: BlobStore, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_function()
    (source,) = find_sources(images)
    first = lay_out(source, platform, store)
    monkeypatch.setattr("pipeline.assembly.layers.store_layer", lambda *_: pytest.fail("compressed again"))
    os.utime(folder / "handler.py", (1, 1))
    assert lay_out(source, platform, store) == first


@pytest.mark.parametrize("spoil", ["remove the blob", "break the record"])
def test_a_cache_that_lost_something_is_filled_again(
    make_function: MakeFolder, images: Path, store: BlobStore, platform: Platform, spoil: str
) -> None:
    make_function()
    (source,) = find_sources(images)
    first = lay_out(source, platform, store)
    if spoil == "remove the blob":
        store.path(first[0].descriptor.digest).unlink()
    else:
        for record in (store.root / "layers").iterdir():
            record.write_text("{")
    assert lay_out(source, platform, store) == first
    assert store.has(first[0].descriptor.digest)


def _link(target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "link").symlink_to(target)


def _file(name: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with open(os.path.join(os.fsencode(folder), name), "wb"):  # noqa: PTH118, PTH123
            pass

    return make


def _backslash_folder(folder: Path) -> None:
    (folder / "back\\slash").mkdir()
    (folder / "back\\slash" / "x.py").touch()


def _twins(folder: Path) -> None:
    (folder / "Rules.json").touch()
    (folder / "rules.json").touch()


def _folder_twins(folder: Path) -> None:
    (folder / "Rules").mkdir()
    (folder / "rules").mkdir()
    (folder / "Rules" / "a").touch()
    (folder / "rules" / "b").touch()


def _socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path may only be short
        try:
            listener.bind("s")
        finally:
            os.chdir(here)


def _ignored_target(folder: Path) -> None:
    (folder / ".env").touch()
    (folder / "link").symlink_to(".env")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(_link("/etc/passwd"), "link links to /etc/passwd, out of the folder", id="absolute link"),
        pytest.param(_link("../other"), "out of the folder", id="climbing link"),
        pytest.param(_link("nowhere"), "link links to nowhere, which does not exist", id="dangling link"),
        pytest.param(_link("link"), "does not exist", id="link to itself"),
        pytest.param(_ignored_target, "link links to .env, which is not shipped", id="link to an ignored file"),
        pytest.param(_file(b"two\nlines.py"), r"'two\nlines.py' has a control character", id="newline"),
        pytest.param(_file(b"back\\slash"), "backslash", id="backslash"),
        pytest.param(_backslash_folder, "backslash", id="backslash of a folder"),
        pytest.param(_file(b"latin-\xe9.py"), r"b'latin-\xe9.py' is not named in UTF-8", id="not UTF-8"),
        pytest.param(_twins, "rules.json and Rules.json are one name", id="names that differ in case"),
        pytest.param(_folder_twins, "rules and Rules are one name", id="folders that differ in case"),
        pytest.param(lambda folder: os.mkfifo(folder / "pipe"), "pipe is neither a file nor a folder", id="pipe"),
        pytest.param(_socket, "s is neither a file nor a folder", id="socket"),
    ],
)
def test_a_file_that_cannot_be_shipped_is_named(
    make_function: MakeFolder, images: Path, spoil: Callable[[Path], None], said: str
) -> None:
    folder = make_function("f")
    (images / "other").mkdir()
    spoil(folder)
    with pytest.raises(SourceError) as caught:
        collect_files(folder, "var/task")
    assert said in caught.value.why
    assert caught.value.what == "f was not packed"


def test_all_bad_files_are_named_at_once(make_function: MakeFolder) -> None:
    folder = make_function()
    _link("/etc/passwd")(folder)
    _file(b"two\nlines")(folder)
    with pytest.raises(SourceError) as caught:
        collect_files(folder, "var/task")
    assert "passwd" in caught.value.why
    assert "lines" in caught.value.why


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(make_function: MakeFolder) -> None:
    folder = make_function(files={"data.bin": b"x" * 2_000_000})
    (folder / "data.bin").chmod(0)
    with pytest.raises(SourceError, match="cannot be read"):
        collect_files(folder, "var/task")


def test_a_folder_that_cannot_be_listed_is_named(make_function: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_function(files={"data/x.json": "{}"})

    def scandir(place: Path) -> object:
        if place.name == "data":
            raise PermissionError(errno.EACCES, "Permission denied")
        return listing(place)

    listing = os.scandir
    monkeypatch.setattr("pipeline.assembly.layers.os.scandir", scandir)
    with pytest.raises(SourceError, match=r"data cannot be listed \(Permission denied\)"):
        collect_files(folder, "var/task")


def test_links_inside_the_folder_are_shipped_as_links(make_function: MakeFolder) -> None:
    folder = make_function(files={"rules/2026.json": "{}"})
    (folder / "rules" / "latest.json").symlink_to("2026.json")
    (folder / "current").symlink_to("rules")
    links = {entry.path: entry.target for entry in collect_files(folder, "var/task") if entry.kind == "symlink"}
    assert links == {"var/task/current": "rules", "var/task/rules/latest.json": "2026.json"}


def test_hard_links_are_shipped_as_two_files(make_function: MakeFolder) -> None:
    folder = make_function()
    os.link(folder / "handler.py", folder / "same.py")
    assert [entry.kind for entry in collect_files(folder, "var/task")] == ["file", "file"]


def test_a_rule_that_is_taken_back_reaches_into_an_ignored_folder(make_function: MakeFolder) -> None:
    folder = make_function(files={"data/a.bin": "", "data/keep.bin": "", ".dockerignore": "data\n!data/keep.bin\n"})
    assert [entry.path for entry in collect_files(folder, "t")] == ["t/data/keep.bin", "t/handler.py"]


def test_a_layer_that_lost_its_content_is_made_anew(
    make_function: MakeFolder, images: Path, store: BlobStore, platform: Platform
) -> None:
    make_function("f")
    (source,) = find_sources(images)
    (layer,) = lay_out(source, platform, store)
    store.path(layer.descriptor.digest).write_bytes(b"")
    assert lay_out(source, platform, store) == (layer,)
    assert store.has(layer.descriptor.digest, layer.descriptor.size)


def test_files_that_no_image_may_hold_are_told_before_they_are_packed(
    make_function: MakeFolder, images: Path, store: BlobStore, platform: Platform
) -> None:
    with (make_function("f") / "model.bin").open("wb") as file:
        file.truncate(11 * 1024**3)
    (source,) = find_sources(images)
    with pytest.raises(SourceError, match=r"its files have 11,811,160,\d+ bytes, Lambda takes 10,737,418,240"):
        lay_out(source, platform, store)


def test_one_path_from_two_places_is_an_error(
    make_function: MakeFolder, images: Path, store: BlobStore, platform: Platform
) -> None:
    make_function("f", {"common/other.py": ""})
    (images / "common").mkdir()
    (images / "common" / "__init__.py").touch()
    (images / "common" / "other.py").touch()
    with pytest.raises(SourceError, match="common"):
        lay_out(find_sources(images)[0], platform, store)


def test_large_files_have_a_layer_that_a_changed_line_leaves_as_it_is(
    make_function: MakeFolder, images: Path, store: BlobStore, platform: Platform
) -> None:
    folder = make_function("f", {"models/m.bin": b"\0" * 1_500_000, "models/labels.json": "[]"})
    (source,) = find_sources(images)
    large, own = lay_out(source, platform, store)
    assert (large.title, own.title) == ("large files", "function")
    assert _names(store, large) == ["var", "var/task", "var/task/models", "var/task/models/m.bin"]
    assert "var/task/models/labels.json" in _names(store, own)
    (folder / "handler.py").write_text("def handle(event, context):\n    return 1\n")
    changed_large, changed = lay_out(source, platform, store)
    assert changed_large.descriptor == large.descriptor
    assert changed.diff_id != own.diff_id
    assert changed.descriptor.size < 20_000
