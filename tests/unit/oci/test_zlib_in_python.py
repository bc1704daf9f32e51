"""Deflate in Python against zlib itself: equal to the last bit."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.oci import deflate
from pipeline.oci.deflate import linked_compressor, sample, writes_like_zlib
from pipeline.oci.tarball import CHUNK
from pipeline.oci.zlib_in_python import PythonCompressor

needs_zlib = pytest.mark.skipif(not writes_like_zlib(), reason="this Python is not linked with zlib itself")


def _compressed(compressor: deflate.Compressor, data: bytes) -> bytes:
    parts = [compressor.compress(data[start : start + CHUNK]) for start in range(0, len(data), CHUNK)]
    return b"".join(parts) + compressor.flush()


def test_the_known_answer_is_that_of_the_algorithm_itself() -> None:
    answer = hashlib.sha256(_compressed(PythonCompressor(), sample())).hexdigest()
    assert answer == deflate._ANSWER


_repetitive = st.lists(
    st.sampled_from([b"a", b"ab", b"abc", b"\0" * 40, b"handler", b"xyz" * 90, b"\n    "]), max_size=400
)


@needs_zlib
@settings(deadline=None)
@given(st.one_of(st.binary(max_size=3000), _repetitive.map(b"".join), st.text("ab", max_size=2000).map(str.encode)))
def test_small_data_compresses_to_zlibs_bytes(data: bytes) -> None:
    assert _compressed(PythonCompressor(), data) == _compressed(linked_compressor(), data)


def _noise(length: int) -> bytes:
    return b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(length // 32))


@needs_zlib
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(bytes(400_000), id="zeros"),
        pytest.param(_noise(80_000), id="noise is stored"),
        pytest.param(_noise(20_000) * 12, id="matches near the end of the window"),
        pytest.param(_noise(32_768) + bytes(3) + _noise(32_768), id="matches just out of reach"),
        pytest.param(b"".join(b"%x" % (number * number) for number in range(15_000)), id="digits"),
        pytest.param(Path(__file__).read_bytes() * 9, id="code"),
        pytest.param(sample(), id="the sample"),
    ],
)
def test_large_data_compresses_to_zlibs_bytes(data: bytes) -> None:
    compressed = _compressed(PythonCompressor(), data)
    assert zlib.decompress(compressed, -15) == data
    assert compressed == _compressed(linked_compressor(), data)


def test_the_window_moves_on_so_that_memory_does_not_grow() -> None:
    compressor = PythonCompressor()
    for _ in range(8):
        compressor.compress(sample())
    assert len(compressor._data) < 500_000
