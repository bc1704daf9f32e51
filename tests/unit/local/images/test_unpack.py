"""Layers are unpacked as they are meant, and nothing in an archive reaches beyond its folder."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.local.images.unpack import UnsafeLayer, inner_target, merge_layers, unpack_layer


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"", mode: int = 0o644
) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    made.size = len(content)
    made.pax_headers = {"content": content.hex()} if content else {}
    return made


def archive(path: Path, *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for made in entries:
            content = bytes.fromhex(made.pax_headers.pop("content", ""))
            tar.addfile(made, io.BytesIO(content))
    return path


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[..., Path]:
    numbers = iter(range(100))

    def unpack(*entries: tarfile.TarInfo, bytes_max: int = 1 << 20) -> Path:
        number = next(numbers)
        folder = tmp_path / f"layer-{number}"
        unpack_layer(archive(tmp_path / f"{number}.tar", *entries), folder, bytes_max=bytes_max)
        return folder

    return unpack


def test_files_folders_and_links(unpack: Callable[..., Path]) -> None:
    folder = unpack(
        entry("./var", tarfile.DIRTYPE, mode=0o755),
        entry("var/task/handler.py", content=b"x = 1"),
        entry("var/task/run", content=b"#!", mode=0o4755),
        entry("var/task/link.py", tarfile.SYMTYPE, "handler.py"),
        entry("var/task/same.py", tarfile.LNKTYPE, "var/task/handler.py"),
    )
    task = folder / "files/var/task"
    assert (task / "handler.py").read_bytes() == b"x = 1"
    assert (task / "link.py").readlink() == Path("handler.py")
    assert (task / "same.py").samefile(task / "handler.py")
    assert stat.S_IMODE((task / "run").stat().st_mode) == 0o555


def test_the_last_of_two_entries_counts(unpack: Callable[..., Path]) -> None:
    assert (unpack(entry("a", content=b"1"), entry("a", content=b"2")) / "files/a").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("../outside", content=b"x")], "leads out of the layer"),
        ([entry("var/../../outside", content=b"x")], "leads out of the layer"),
        ([entry("link", tarfile.SYMTYPE, "../../outside")], "leads out of the image"),
        ([entry("a/link", tarfile.SYMTYPE, "b/../../../x")], "leads out of the image"),
        ([entry("door", tarfile.SYMTYPE, "."), entry("door/file", content=b"x")], "goes through the link"),
        (
            [
                entry("a/door/file", content=b"x"),
                entry("a/door", tarfile.SYMTYPE, ".."),
                entry("a/door/file", content=b"y"),
            ],
            "goes through the link",
        ),
        ([entry("a", tarfile.DIRTYPE), entry("a", content=b"x"), entry("a/file", content=b"y")], "goes through a file"),
        ([entry("a", content=b"x"), entry("a/b", content=b"x")], "goes through a file"),
        ([entry("hard", tarfile.LNKTYPE, "../../etc/passwd")], "which is not an earlier file"),
        ([entry("hard", tarfile.LNKTYPE, "absent")], "which is not an earlier file"),
        ([entry("s", tarfile.SYMTYPE, "x"), entry("hard", tarfile.LNKTYPE, "s")], "which is not an earlier file"),
        ([entry("a", content=b"x" * 600), entry("b", content=b"x" * 600)], "more than an image may have"),
        # Whiteouts that would remove the folder above, the folder itself, or nothing that has a name.
        ([entry(".wh...")], "names nothing"),
        ([entry("var/.wh...")], "names nothing"),
        ([entry(".wh..")], "names nothing"),
        ([entry("var/.wh.")], "names nothing"),
    ],
)
def test_an_unsafe_archive_is_refused(
    unpack: Callable[..., Path], entries: list[tarfile.TarInfo], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsafeLayer, match=message):
        unpack(*entries, bytes_max=1000)
    assert {path.name for path in tmp_path.iterdir()} == {"0.tar", "layer-0"}


def test_an_absolute_path_is_refused_as_check_refuses_it(unpack: Callable[..., Path]) -> None:
    with pytest.raises(UnsafeLayer, match="the path '/etc/motd' leads out of the layer"):
        unpack(entry("/etc/motd", content=b"x"))


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("bomb")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    path = tmp_path / "bomb.tar"
    with path.open("wb") as file:
        file.write(header.tobuf())
        file.truncate(1 << 30)  # sparse: it takes no room
    with pytest.raises(UnsafeLayer, match="extended header"):
        unpack_layer(path, tmp_path / "layer")


def test_a_file_of_nothing_but_zeros_counts_with_its_whole_size(tmp_path: Path) -> None:
    header = tarfile.TarInfo("huge")
    header.size = 1 << 33
    path = tmp_path / "huge.tar"
    with path.open("wb") as file:
        file.write(header.tobuf())
        file.truncate(1 << 34)
    with pytest.raises(UnsafeLayer, match="more than an image may have"):
        unpack_layer(path, tmp_path / "layer", bytes_max=1 << 20)


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100])
def test_what_is_no_archive_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(UnsafeLayer, match=r"it is empty|is damaged"):
        unpack_layer(tmp_path / "x.tar", tmp_path / "layer")


@pytest.mark.parametrize("moment", [315_532_800, -(2**62), 2**62, float("nan"), float("inf")])
def test_a_file_has_the_time_of_its_entry_if_there_is_such_a_time(unpack: Callable[..., Path], moment: float) -> None:
    made = entry("a.py", content=b"x = 1")
    made.pax_headers["mtime"] = repr(moment)
    found = (unpack(made) / "files/a.py").stat().st_mtime
    assert (found == moment) is (moment == 315_532_800)


@pytest.mark.parametrize(
    ("path", "target", "wanted"),
    [
        ("usr/bin/python", "/usr/local/bin/python3", "../local/bin/python3"),
        ("lib", "usr/lib", "usr/lib"),
        ("a/b/c", "../d", "../d"),
        ("a/b", "x/../y", "y"),
        ("root", "/", "."),
        ("a/up", "..", ".."),
    ],
)
def test_inner_target(path: str, target: str, wanted: str) -> None:
    assert inner_target(path, target) == wanted


@given(
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "..", ".", ""]), min_size=1, max_size=8),
    st.booleans(),
)
def test_a_link_never_leads_out(parts: list[str], target: list[str], absolute: bool) -> None:
    path, text = "/".join(parts), ("/" if absolute else "") + ("/".join(target) or ".")
    try:
        made = inner_target(path, text or ".")
    except UnsafeLayer:
        return
    climbs = made.split("/").count("..")
    assert made.split("/")[:climbs] == [".."] * climbs
    assert climbs <= len(parts) - 1
    assert not made.startswith("/")


def test_upper_layers_replace_remove_and_hide(unpack: Callable[..., Path], tmp_path: Path) -> None:
    lower = unpack(
        entry("app/old.py", content=b"old"),
        entry("app/kept.py", content=b"kept"),
        entry("app/changed.py", content=b"1"),
        entry("data/a", content=b"a"),
        entry("folder/x", content=b"x"),
        entry("file", content=b"f"),
    )
    upper = unpack(
        entry("app/.wh.old.py"),
        entry("app/changed.py", content=b"2"),
        entry("data/.wh..wh..opq"),
        entry("data/b", content=b"b"),
        entry("folder", content=b"now a file"),
        entry("file/inner", content=b"now a folder"),
        entry("link", tarfile.SYMTYPE, "app"),
    )
    root = tmp_path / "root"
    merge_layers([lower, upper], root)
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
    assert found >= {"app/kept.py", "app/changed.py", "data/b", "folder", "file/inner"}
    assert not {"app/old.py", "data/a", "folder/x"} & found
    assert (root / "app/changed.py").read_bytes() == b"2"
    assert (root / "link").readlink() == Path("app")
    # The layers themselves are as before.
    assert (lower / "files/app/old.py").read_bytes() == b"old"


def test_a_whiteout_does_not_reach_through_a_link(unpack: Callable[..., Path], tmp_path: Path) -> None:
    lower = unpack(entry("real/file", content=b"x"), entry("door", tarfile.SYMTYPE, "real"))
    upper = unpack(entry("door/.wh.file"))
    root = tmp_path / "root"
    merge_layers([lower, upper], root)
    assert (root / "real/file").exists()


def test_a_folder_over_a_link_replaces_it(unpack: Callable[..., Path], tmp_path: Path) -> None:
    lower = unpack(entry("real/file", content=b"x"), entry("door", tarfile.SYMTYPE, "real"))
    upper = unpack(entry("door/file", content=b"y"))
    root = tmp_path / "root"
    merge_layers([lower, upper], root)
    assert (root / "real/file").read_bytes() == b"x"
    assert (root / "door/file").read_bytes() == b"y"
    assert not (root / "door").is_symlink()


def test_more_entries_than_allowed_are_refused(unpack: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.oci.archive.ENTRIES_MAX", 3)
    unpack(*(entry(f"f{number}") for number in range(3)))
    with pytest.raises(UnsafeLayer, match="more than 3 entries"):
        unpack(*(entry(f"f{number}") for number in range(4)))
