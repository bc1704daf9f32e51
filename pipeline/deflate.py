"""The one deflate stream that every machine writes for the same bytes."""

from __future__ import annotations

import zlib
from typing import Protocol

LEVEL = 6


class Compressor(Protocol):
    """The two methods of ``zlib.compressobj`` that layers need."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def new_compressor() -> Compressor:
    """A compressor of raw deflate at level 6."""
    return zlib.compressobj(LEVEL, zlib.DEFLATED, -15, 8)
