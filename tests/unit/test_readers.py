"""What reads files and answers of others: it understands them, or says in a line why not, and does nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfn.settings import Architecture
from pipeline.assembly.check import find_findings
from pipeline.assembly.image import empty_base
from pipeline.assembly.model import Platform, PythonVersion
from pipeline.assembly.sources import find_sources
from pipeline.bases.parsing import parse_base
from pipeline.bases.pins import pinned_base
from pipeline.bases.resolve import resolve_index
from pipeline.core.documents import parse_json, parse_toml, parse_unambiguous_json
from pipeline.core.errors import PipelineError
from pipeline.environment.configuration import read_choices
from pipeline.oci.config import config_fault
from pipeline.oci.layout import Layout, parse_descriptor, parse_layout_name, read_manifest
from pipeline.oci.registry.auth import parse_challenges
from pipeline.oci.registry.refusals import own_words
from pipeline.oci.values import OCI_INDEX, OCI_MANIFEST, Digest, ImageReference, Manifest
from pipeline.transactions.prices import Prices
from pipeline.transactions.transaction_lines import Line, read_lines
from tests.fuzzing import corpus, fuzzed

PLATFORM = Platform(Architecture.ARM64, PythonVersion(3, 13))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("sha256:" + "0" * 64),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
DESCRIPTOR = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:" + "1" * 64, "size": 7}
MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": OCI_MANIFEST,
    "config": {**DESCRIPTOR, "mediaType": "application/vnd.oci.image.config.v1+json"},
    "layers": [DESCRIPTOR],
    "annotations": {"a": "b"},
}
CONFIG: dict[str, Any] = {
    **json.loads(empty_base(PLATFORM).config),
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "2" * 64]},
}
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": OCI_INDEX,
    "manifests": [
        {
            **DESCRIPTOR,
            "mediaType": OCI_MANIFEST,
            "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
        },
        {**DESCRIPTOR, "mediaType": OCI_MANIFEST, "annotations": {"org.opencontainers.image.ref.name": "x"}},
    ],
}


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every node of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(place for key, each in inner for place in places(each, (*above, key)))]


@st.composite
def spoiled(draw: st.DrawFn, document: dict[str, Any]) -> bytes:
    """A document with some of its nodes replaced or removed."""
    made: Any = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(made)))
        if not place:
            made = draw(VALUES)
            continue
        parent = made
        for key in place[:-1]:
            parent = parent[key]
        if draw(st.booleans()):
            parent[place[-1]] = draw(VALUES)
        else:
            del parent[place[-1]]
    return json.dumps(made).encode()


def explained(read: Callable[[], Any]) -> None:
    """Reading succeeds, or fails in a short line that a terminal can show."""
    try:
        read()
    except (PipelineError, ValueError) as error:
        said = str(error)
    else:
        return
    assert len(said) < 3000


def read_image(manifest: bytes, config: bytes, index: bytes) -> None:
    read = read_manifest(manifest)
    explained(lambda: parse_descriptor(parse_json(manifest)))
    explained(lambda: parse_base(read, config, PLATFORM, None, "the base"))
    explained(lambda: parse_base(Manifest(manifest, OCI_MANIFEST), config, PLATFORM, None, "the base"))
    explained(lambda: config_fault(parse_json(config)))
    explained(lambda: resolve_index(Manifest(index, OCI_INDEX), PLATFORM, lambda _: read, "the base"))
    for expected in (PLATFORM, None):
        for each in (read, Manifest(manifest, OCI_MANIFEST), Manifest(index, OCI_INDEX)):
            findings = find_findings(each, config, [None] * 4, expected)
            assert sum(len(finding.message) + len(finding.cure) for finding in findings) < 20_000
    own_words(manifest)


@fuzzed
@given(spoiled(MANIFEST), spoiled(CONFIG), spoiled(INDEX))
def test_images_that_are_spoiled(manifest: bytes, config: bytes, index: bytes) -> None:
    read_image(manifest, config, index)


@pytest.mark.parametrize("content", [*corpus("manifest"), *corpus("json")])
def test_images_of_the_corpus(content: bytes) -> None:
    read_image(content, content, content)


@fuzzed
@given(index=spoiled(INDEX), name=st.text(max_size=10))
def test_layouts_that_are_spoiled(index: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (tmp_path / "index.json").write_bytes(index)
    explained(lambda: Layout(tmp_path).entries)
    explained(lambda: Layout(tmp_path).index())


@fuzzed
@given(st.text() | st.binary())
def test_any_json(content: str | bytes) -> None:
    explained(lambda: parse_json(content))
    if isinstance(content, str):
        explained(lambda: parse_unambiguous_json(content))


@fuzzed
@given(VALUES)
def test_json_is_read_as_it_was_written(value: Any) -> None:
    text = json.dumps(value)
    assert json.dumps(parse_json(text)) == text


@pytest.mark.parametrize("content", corpus("json"))
def test_json_of_the_corpus(content: bytes) -> None:
    explained(lambda: parse_json(content))
    explained(lambda: parse_unambiguous_json(content.decode(errors="surrogateescape")))


def read_tables(content: bytes, folder: Path) -> None:
    explained(lambda: parse_toml(content))
    file = folder / "environments.toml"
    file.write_bytes(content)
    explained(lambda: read_choices(file, "dev"))
    explained(lambda: pinned_base(PLATFORM, file))
    explained(lambda: Prices.load(file))
    function = folder / "images" / "one"
    function.mkdir(parents=True, exist_ok=True)
    (function / "function.toml").write_bytes(content)
    explained(lambda: find_sources(folder / "images"))


_WORDS = [
    *("[defaults]", "[environments.dev]", "[python.'3.13']", "[[calls]]", "[lambda]", "zones", "memory", "handler"),
    *("reference", "service", "=", '"x"', "1", "[", "]", "{", "}", ",", "nan", "1979-05-27", "'''", "é", "\n"),
]
TOML = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from(_WORDS), max_size=30).map(lambda parts: " ".join(parts).encode()),
)


@fuzzed
@given(content=TOML)
def test_any_toml(content: bytes, tmp_path: Path) -> None:
    read_tables(content, tmp_path)


@pytest.mark.parametrize("content", corpus("toml"))
def test_toml_of_the_corpus(content: bytes, tmp_path: Path) -> None:
    read_tables(content, tmp_path)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "pipe"])
def test_a_file_that_never_ends_is_refused(device: str, tmp_path: Path) -> None:
    import os

    path = tmp_path / "environments.toml"
    if device == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(device)
    for read in (lambda: read_choices(path, "dev"), lambda: pinned_base(PLATFORM, path), lambda: Prices.load(path)):
        with pytest.raises(PipelineError, match="not a regular file"):
            read()


def read_file(content: bytes, suffix: str, folder: Path) -> None:
    path = folder / f"transactions{suffix}"
    path.write_bytes(content)

    def read() -> None:
        lines: list[Line] = []
        for line in read_lines(path):
            assert bool(line.text) != bool(line.why)
            assert not lines or line.number > lines[-1].number
            assert len(line.why) < 300
            if line.text:
                json.loads(line.text)
            lines.append(line)

    explained(read)


ROWS = st.lists(
    st.sampled_from(
        ["transaction_id", "amount", ",", '"', "\n", "\r", "\0", "x", "1", "é", "{", "}", ":", "[", "\ufeff"]
    ),
    max_size=40,
).map(lambda parts: "".join(parts).encode())


@fuzzed
@given(content=st.binary(max_size=300) | ROWS | ROWS.map(lambda rows: b"transaction_id,amount\n" + rows))
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_any_lines(content: bytes, suffix: str, tmp_path: Path) -> None:
    read_file(content, suffix, tmp_path)


@pytest.mark.parametrize("content", corpus("lines"))
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_lines_of_the_corpus(content: bytes, suffix: str, tmp_path: Path) -> None:
    read_file(content, suffix, tmp_path)


@fuzzed
@given(st.text() | st.from_regex(r"[a-z0-9./:@_-]{0,60}"))
def test_any_name_of_an_image(text: str) -> None:
    explained(lambda: ImageReference.parse(text))
    explained(lambda: Digest.parse(text))
    explained(lambda: parse_layout_name(text))
    try:
        reference = ImageReference.parse(text)
    except ValueError:
        return
    assert ImageReference.parse(str(reference)) == reference


@fuzzed
@given(st.text() | st.lists(st.sampled_from(["Bearer", "Basic", " ", ",", "=", '"', "\\", "realm", "x"])).map("".join))
def test_any_challenge(header: str) -> None:
    parse_challenges(header)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("registry.example:99999/app", "a registry is a host"),
        ("registry.example:0/app", "a registry is a host"),
        ("~nope/x", "a repository is lower-case words"),
        ("oci:~nope/x", "not a usable path"),
        ("oci:a\0b", "not a usable path"),
    ],
)
def test_names_that_were_tracebacks(name: str, why: str) -> None:
    from pipeline.bases.inspection import inspect_images

    with pytest.raises(PipelineError, match=why):
        inspect_images(name)


def test_an_index_of_ten_thousand_manifests_is_a_short_message(tmp_path: Path) -> None:
    from pipeline.bases.choose import layout_base

    entry = INDEX["manifests"][0]
    many = [
        {**entry, "platform": {"os": "linux", "architecture": f"a{number}"}, "digest": f"sha256:{number:064}"}
        for number in range(10_000)
    ]
    content = json.dumps({**INDEX, "manifests": many}).encode()
    with pytest.raises(PipelineError, match="and 9995 more") as caught:
        resolve_index(Manifest(content, OCI_INDEX), PLATFORM, lambda _: Manifest(b"", ""), "the base")
    assert len(str(caught.value)) < 500
    names = [
        {**each, "annotations": {"org.opencontainers.image.ref.name": f"n{number}"}} for number, each in enumerate(many)
    ]
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (tmp_path / "index.json").write_text(json.dumps({**INDEX, "manifests": names}))
    with pytest.raises(PipelineError, match="and 9995 more") as caught:
        layout_base(tmp_path, PLATFORM, None, name="absent")  # type: ignore[arg-type]
    assert len(str(caught.value)) < 500


def test_half_a_surrogate_pair_in_a_config_is_explained() -> None:
    assert config_fault({**CONFIG, "rootfs": "\ud800"}) == "a text of it is not Unicode"


@pytest.mark.parametrize("size", [-1, 1 << 63, 10**400, True, 1.0, "1", None])
def test_a_size_is_an_int64(size: Any) -> None:
    with pytest.raises(ValueError, match="has a mediaType and a size"):
        parse_descriptor({**DESCRIPTOR, "size": size})
