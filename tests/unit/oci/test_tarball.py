"""The bytes of a layer: a tar that every reader takes and Lambda accepts, and that depends on the files alone."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.assembly.facts.layer_facts import read_facts
from pipeline.core.errors import SourceError
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import MODIFIED, TarEntry, gzip_chunks, store_layer, tar_chunks, with_parents

_names = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=60
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))
_paths = st.lists(_names, min_size=1, max_size=6).map("/".join)


@st.composite
def entries(draw: st.DrawFn) -> list[TarEntry]:
    """Files and links that can be in one tree: no file is another one's folder."""
    found: list[TarEntry] = []
    taken: set[str] = set()
    for path in draw(st.lists(_paths, max_size=8, unique=True)):
        parts = path.split("/")
        above = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if above & {entry.path for entry in found} or path in taken:
            continue
        taken |= above
        if draw(st.booleans()):
            content = draw(st.binary(max_size=1500))
            found.append(TarEntry(path, "file", content, len(content), draw(st.booleans())))
        else:
            found.append(TarEntry(path, "symlink", target=draw(_paths)))
    return found


def _tar(chosen: Iterable[TarEntry]) -> bytes:
    return b"".join(tar_chunks(chosen))


@settings(deadline=None)
@given(entries(), st.randoms(use_true_random=False))
def test_a_tar_holds_its_entries_in_one_order_with_fixed_metadata(
    chosen: list[TarEntry], chance: random.Random
) -> None:
    archive = _tar(chosen)
    shuffled = chosen[:]
    chance.shuffle(shuffled)
    assert _tar(shuffled) == archive
    wanted = {entry.path: entry for entry in with_parents(chosen)}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == list(wanted)
        for member in members:
            entry = wanted[member.name]
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            assert (member.mtime, member.islnk(), member.issym()) == (MODIFIED, False, entry.kind == "symlink")
            if entry.kind == "file":
                assert member.mode == (0o755 if entry.executable else 0o644)
                assert (reader := tar.extractfile(member)) is not None
                assert reader.read() == entry.content
            elif entry.kind == "directory":
                assert (member.isdir(), member.mode) == (True, 0o755)
            else:
                assert member.linkname == entry.target


@settings(deadline=None)
@given(entries())
def test_a_layer_breaks_no_rule_of_lambda(chosen: list[TarEntry]) -> None:
    layer = b"".join(gzip_chunks(tar_chunks(chosen)))
    facts = read_facts(lambda: io.BytesIO(layer))
    assert (facts.compression, facts.broken, facts.problems, facts.unreadable) == ("gzip", "", {}, [])
    assert facts.diff_id == f"sha256:{hashlib.sha256(_tar(chosen)).hexdigest()}"


@pytest.mark.parametrize("length", [99, 100, 101, 155, 156, 200, 255, 256, 257, 400])
@pytest.mark.parametrize("depth", [1, 2, 9])
def test_long_paths_survive(length: int, depth: int) -> None:
    parts = ["d" * (length // depth)] * (depth - 1)
    path = "/".join([*parts, "f" * (length - sum(len(part) + 1 for part in parts))])
    with tarfile.open(fileobj=io.BytesIO(_tar([TarEntry(path, "file", b"x", 1)]))) as tar:
        assert tar.getnames()[-1] == path


def test_these_files_have_this_diff_id_on_every_machine(store: BlobStore) -> None:
    noise = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(256)) * 4
    chosen = [
        TarEntry("var/task/handler.py", "file", b"def handle(event, context):\n    return event\n" * 50, 2250),
        TarEntry("var/task/größe", "file", noise, len(noise), executable=True),
        TarEntry("var/task/link", "symlink", target="handler.py"),
        TarEntry("var/task/" + "long/" * 60 + "end", "file", b"", 0),
    ]
    layer = store_layer(store, chosen, "function")
    assert str(layer.diff_id) == "sha256:2035e077f55a7c46398c6e9e6dc7108c28b76a21b78d5a536e64821b211f0980"


def test_the_gzip_header_says_nothing_of_this_machine() -> None:
    content = b"".join(gzip_chunks([b"content"]))
    assert content[:10] == bytes.fromhex("1f8b08000000000000ff")
    assert gzip.decompress(content) == b"content"


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../b", "a//b", "./a", "", "a/"])
def test_a_path_that_leaves_the_layer_is_no_entry(path: str) -> None:
    with pytest.raises(ValueError, match="path inside a layer"):
        with_parents([TarEntry(path)])


@pytest.mark.parametrize(("paths", "said"), [(("a", "a"), "twice"), (("a", "a/b"), "both a file and the folder")])
def test_one_path_is_one_entry(paths: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        with_parents([TarEntry(path, "file", b"") for path in paths])


@pytest.mark.parametrize("content", [b"shorter", b"longer than it was"])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "data.bin"
    file.write_bytes(content)
    with pytest.raises(SourceError, match="changed while it was read"):
        _tar([TarEntry("data.bin", "file", file, 10)])


def test_a_layer_has_the_same_diff_id_where_another_library_compresses(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"some text that compresses " * 2000 + random.Random(1).randbytes(5000)
    chosen = [TarEntry("data", "file", content, len(content))]
    usual = store_layer(store, chosen, "function")
    # Level 9 simulates zlib-ng: correct deflate, other bytes.
    monkeypatch.setattr("pipeline.oci.tarball.LEVEL", 9)
    other = store_layer(BlobStore(tmp_path / "other"), chosen, "function")
    assert other.diff_id == usual.diff_id
    assert other.descriptor.digest != usual.descriptor.digest
