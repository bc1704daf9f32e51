"""The one deflate stream that every machine writes for the same bytes: that of zlib at level 4.

Python compresses with whatever library it was linked with, and zlib-ng, Apple's and others write other bytes than
zlib. Which one this is shows in a sample: when the known answer comes back, the linked library is used; otherwise
``pipeline.oci.zlib_in_python`` writes zlib's bytes, about a hundred times slower. See docs/decisions/one-digest.md.
"""

from __future__ import annotations

import hashlib
import zlib
from functools import cache
from typing import Protocol

# A twentieth more bytes than at level 6, in half the time.
LEVEL = 4
_ANSWER = "adc1e576452200a32fdaa61b5cba7b229cc1e757c001dab8c1dccbe197111893"


class Compressor(Protocol):
    """The two methods of ``zlib.compressobj`` that layers need."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def new_compressor() -> Compressor:
    """A compressor of raw deflate; feed it chunks of one size, which is how its bytes are defined."""
    if writes_like_zlib():
        return linked_compressor()
    from pipeline.oci.zlib_in_python import PythonCompressor

    return PythonCompressor()


def linked_compressor() -> Compressor:
    """The compressor of the library that this Python is linked with."""
    return zlib.compressobj(LEVEL, zlib.DEFLATED, -15, 8)


@cache
def writes_like_zlib() -> bool:
    """Whether the linked library gives the known answer; takes some milliseconds, once."""
    compressor = linked_compressor()
    return hashlib.sha256(compressor.compress(sample()) + compressor.flush()).hexdigest() == _ANSWER


def sample() -> bytes:
    """Some 100 kB on which compressors differ: near and far repeats, lazy matches, runs, and noise."""
    state, words, out = 1, [], bytearray()
    for _ in range(400):
        state = state * 1_103_515_245 + 12_345 & 0x7FFFFFFF
        words.append(hashlib.sha256(state.to_bytes(4, "little")).hexdigest()[: 2 + state % 11].encode())
    while len(out) < 100_000:
        state = state * 1_103_515_245 + 12_345 & 0x7FFFFFFF
        choice = state >> 8
        if choice % 61 == 0:
            out += bytes(choice % 700)
        elif choice % 53 == 0:
            out += hashlib.sha512(state.to_bytes(4, "little")).digest() * 3
        else:
            out += words[choice % (400 if choice % 3 else 20)] + b" "
    return bytes(out)
