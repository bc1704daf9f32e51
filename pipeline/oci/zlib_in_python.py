"""zlib's deflate at level 4, written in Python: the same bytes as zlib, only slower.

Layers must have one digest on every machine, and a Python that is linked with another library (zlib-ng, Apple's,
Intel's) compresses the same bytes to other bytes. There this module does what zlib does: the lazy matching of
``deflate.c`` and the Huffman trees of ``trees.c``, decision by decision. A test holds the two equal on random and on
real data. Names follow zlib's, so that the two can be read side by side.
"""

from __future__ import annotations

_WINDOW = 1 << 15
_WINDOW_MASK = _WINDOW - 1
_MIN_MATCH, _MAX_MATCH = 3, 258
_MIN_LOOKAHEAD = _MAX_MATCH + _MIN_MATCH + 1
_MAX_DISTANCE = _WINDOW - _MIN_LOOKAHEAD
_TOO_FAR = 4096  # a match of 3 bytes from farther away costs more than three literals
_SYMBOLS_MAX = (1 << 14) - 1  # of one block, for zlib's default memLevel 8
# Level 4 of zlib's configuration table.
_GOOD_LENGTH, _MAX_LAZY, _NICE_LENGTH, _MAX_CHAIN = 4, 4, 16, 16
_NIL = -(1 << 40)
_KEPT = 8 * _WINDOW

_END_BLOCK, _LITERALS = 256, 256
_EXTRA_LENGTH = (0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0)
_EXTRA_DISTANCE = (0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13)
_EXTRA_BIT_LENGTH = (0,) * 16 + (2, 3, 7)
_BIT_LENGTH_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)


def _codes_of(extra: tuple[int, ...], size: int) -> tuple[list[int], list[int]]:
    """For each value its code, and for each code its first value."""
    codes: list[int] = []
    bases: list[int] = []
    for code, bits in enumerate(extra):
        bases.append(len(codes))
        codes += [code] * (1 << bits)
    return codes[:size], bases


_LENGTH_CODE, _BASE_LENGTH = _codes_of(_EXTRA_LENGTH[:28], 256)
# The longest match has a code of its own, without extra bits.
_LENGTH_CODE[255] = 28
_BASE_LENGTH.append(255)
_DISTANCE_CODE, _BASE_DISTANCE = _codes_of(_EXTRA_DISTANCE, _WINDOW)


def _reversed(code: int, length: int) -> int:
    return int(format(code, f"0{length}b")[::-1], 2) if length else 0


def _codes(lengths: list[int]) -> list[int]:
    """The canonical Huffman codes of these lengths, first bit lowest (``gen_codes``)."""
    counts = [0] * 16
    for length in lengths:
        counts[length] += 1
    counts[0] = 0
    following, code = [0] * 16, 0
    for bits in range(1, 16):
        code = (code + counts[bits - 1]) << 1
        following[bits] = code
    codes = []
    for length in lengths:
        codes.append(_reversed(following[length], length))
        if length:
            following[length] += 1
    return codes


_STATIC_LENGTHS = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
_STATIC_CODES = _codes(_STATIC_LENGTHS)
_STATIC_DISTANCE_LENGTHS = [5] * 30
_STATIC_DISTANCE_CODES = [_reversed(code, 5) for code in range(30)]


class _Tree:
    """A Huffman tree over frequencies (``build_tree`` and ``gen_bitlen``): code lengths and what they cost."""

    def __init__(
        self, frequencies: list[int], extra: tuple[int, ...], base: int, longest: int, static: list[int] | None
    ) -> None:
        elements = len(frequencies)
        frequency = frequencies + [0] * elements
        depth = [0] * (2 * elements)
        heap = [0, *(n for n in range(elements) if frequency[n])]
        self.max_code = heap[-1] if len(heap) > 1 else -1
        self.cost = self.static_cost = 0
        while len(heap) < 3:  # the format wants two codes at least
            node = 0
            if self.max_code < 2:
                self.max_code += 1
                node = self.max_code
            heap.append(node)
            frequency[node] = 1
            self.cost -= 1
            if static is not None:
                self.static_cost -= static[node]
        order, parent = _merge(heap, frequency, depth, elements)
        self.lengths = [0] * (2 * elements)
        counts = [0] * (longest + 1)
        overflow = 0
        for n in order[1:]:
            bits = self.lengths[parent[n]] + 1
            if bits > longest:
                bits = longest
                overflow += 1
            self.lengths[n] = bits
            if n > self.max_code:
                continue
            counts[bits] += 1
            more = extra[n - base] if n >= base else 0
            self.cost += frequency[n] * (bits + more)
            if static is not None:
                self.static_cost += frequency[n] * (static[n] + more)
        if overflow:
            self._shorten(order, frequency, counts, longest, overflow)
        del self.lengths[elements:]
        self.codes = _codes(self.lengths)

    def _shorten(self, order: list[int], frequency: list[int], counts: list[int], longest: int, overflow: int) -> None:
        while overflow > 0:
            bits = longest - 1
            while counts[bits] == 0:
                bits -= 1
            counts[bits] -= 1
            counts[bits + 1] += 2
            counts[longest] -= 1
            overflow -= 2
        position = len(order)
        for bits in range(longest, 0, -1):
            left = counts[bits]
            while left:
                position -= 1
                n = order[position]
                if n > self.max_code:
                    continue
                self.cost += (bits - self.lengths[n]) * frequency[n]
                self.lengths[n] = bits
                left -= 1


def _merge(heap: list[int], frequency: list[int], depth: list[int], elements: int) -> tuple[list[int], list[int]]:
    """Join the two least frequent nodes until one is left. Gives all nodes from the root down, and their parents."""
    size = len(heap) - 1

    def sift(k: int) -> None:
        v = heap[k]
        weight = (frequency[v], depth[v])
        j = k << 1
        while j <= size:
            m = heap[j]
            if j < size:
                other = heap[j + 1]
                if (frequency[other], depth[other]) <= (frequency[m], depth[m]):
                    j += 1
                    m = other
            if weight <= (frequency[m], depth[m]):
                break
            heap[k] = m
            k = j
            j <<= 1
        heap[k] = v

    for k in range(size // 2, 0, -1):
        sift(k)
    parent = [0] * (2 * elements)
    taken = []
    node = elements
    while size >= 2:
        n = heap[1]
        heap[1] = heap[size]
        size -= 1
        sift(1)
        m = heap[1]
        taken += [n, m]
        frequency[node] = frequency[n] + frequency[m]
        depth[node] = max(depth[n], depth[m]) + 1
        parent[n] = parent[m] = node
        heap[1] = node
        node += 1
        sift(1)
    taken.append(heap[1])
    return taken[::-1], parent


def _runs(lengths: list[int]) -> list[tuple[int, int, int]]:
    """Code lengths as (symbol, extra value, extra bits), runs folded (``scan_tree`` and ``send_tree``)."""
    out: list[tuple[int, int, int]] = []
    previous, count, ending = -1, 0, len(lengths) - 1
    most, least = (138, 3) if lengths[0] == 0 else (7, 4)
    for n, current in enumerate(lengths):
        following = lengths[n + 1] if n < ending else -1
        count += 1
        if count < most and current == following:
            continue
        if count < least:
            out += [(current, 0, 0)] * count
        elif current:
            if current != previous:
                out.append((current, 0, 0))
                count -= 1
            out.append((16, count - 3, 2))
        elif count <= 10:
            out.append((17, count - 3, 3))
        else:
            out.append((18, count - 11, 7))
        count, previous = 0, current
        most, least = (138, 3) if following == 0 else (6, 3) if current == following else (7, 4)
    return out


class PythonCompressor:
    """Like ``zlib.compressobj(4, zlib.DEFLATED, -15, 8)`` of zlib itself."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._position = 0
        self._block_start = 0
        self._head = [_NIL] * _WINDOW
        self._previous = [_NIL] * _WINDOW
        self._match_length = _MIN_MATCH - 1
        self._match_start = 0
        self._waiting = False  # whether the byte before the position is not told yet
        self._symbols: list[tuple[int, int]] = []  # (0, byte) or (distance, length - 3)
        self._bits = 0
        self._bit_count = 0
        self._out = bytearray()

    def compress(self, data: bytes, /) -> bytes:
        self._data += data
        self._match(len(self._data) - _MIN_LOOKAHEAD + 1)
        if self._position > _KEPT:
            self._forget()
        return self._taken()

    def flush(self) -> bytes:
        self._match(len(self._data))
        if self._waiting:
            self._symbols.append((0, self._data[self._position - 1]))
            self._waiting = False
        self._write_block(last=True)
        return self._taken()

    def _taken(self) -> bytes:
        out = bytes(self._out)
        self._out.clear()
        return out

    def _forget(self) -> None:
        """Drop what no match and no block can reach any more."""
        drop = (min(self._position - 2 * _WINDOW, self._block_start) // _WINDOW) * _WINDOW
        del self._data[:drop]
        self._position -= drop
        self._block_start -= drop
        self._match_start -= drop
        self._head = [each - drop for each in self._head]
        self._previous = [each - drop for each in self._previous]

    def _match(self, until: int) -> None:
        """``deflate_slow``: find matches at every position below ``until``, and take the better of two neighbours."""
        data, head, previous = self._data, self._head, self._previous
        end = len(data)
        position, waiting = self._position, self._waiting
        match_length, match_start = self._match_length, self._match_start
        symbols = self._symbols
        while position < until:
            candidate = _NIL
            if position + 2 < end:
                key = (data[position] << 10 ^ data[position + 1] << 5 ^ data[position + 2]) & 0x7FFF
                candidate = previous[position & _WINDOW_MASK] = head[key]
                head[key] = position
            last_length, last_start = match_length, match_start
            match_length = _MIN_MATCH - 1
            # zlib takes its window's first position for "none".
            if candidate > 0 and last_length < _MAX_LAZY and position - candidate <= _MAX_DISTANCE:
                match_length, match_start = self._longest(position, candidate, last_length, match_start)
                if match_length == _MIN_MATCH and position - match_start > _TOO_FAR:
                    match_length = _MIN_MATCH - 1
            if last_length >= _MIN_MATCH and match_length <= last_length:
                symbols.append((position - 1 - last_start, last_length - _MIN_MATCH))
                following = position + last_length - 1
                for each in range(position + 1, min(following, end - 2)):
                    key = (data[each] << 10 ^ data[each + 1] << 5 ^ data[each + 2]) & 0x7FFF
                    previous[each & _WINDOW_MASK] = head[key]
                    head[key] = each
                waiting, match_length, position = False, _MIN_MATCH - 1, following
                full = len(symbols) == _SYMBOLS_MAX
            elif waiting:
                symbols.append((0, data[position - 1]))
                full = len(symbols) == _SYMBOLS_MAX
                if full:
                    self._position = position
                    self._write_block(last=False)
                    full = False
                position += 1
            else:
                waiting, full = True, False
                position += 1
            if full:
                self._position = position
                self._write_block(last=False)
        self._position, self._waiting = position, waiting
        self._match_length, self._match_start = match_length, match_start

    def _longest(self, position: int, candidate: int, best: int, start: int) -> tuple[int, int]:
        """``longest_match``: the length and the start of the best match that is longer than ``best``."""
        data, previous = self._data, self._previous
        ahead = min(_MAX_MATCH, len(data) - position)
        nice = min(_NICE_LENGTH, len(data) - position)
        chain = _MAX_CHAIN >> 2 if best >= _GOOD_LENGTH else _MAX_CHAIN
        limit = max(position - _MAX_DISTANCE, 0)
        scan = data[position : position + ahead]
        scanned = int.from_bytes(scan, "little")
        if best >= ahead:
            return ahead, start
        tail = scan[best - 1 : best + 1]
        first = scan[:2]
        while True:
            if data[candidate + best - 1 : candidate + best + 1] == tail and data[candidate : candidate + 2] == first:
                different = scanned ^ int.from_bytes(data[candidate : candidate + ahead], "little")
                length = ((different & -different).bit_length() - 1) >> 3 if different else ahead
                if length > best:
                    start, best = candidate, length
                    if length >= nice:
                        break
                    tail = scan[best - 1 : best + 1]
            candidate = previous[candidate & _WINDOW_MASK]
            chain -= 1
            if candidate <= limit or chain == 0:
                break
        return best, start

    def _put(self, value: int, bits: int) -> None:
        self._bits |= value << self._bit_count
        self._bit_count += bits

    def _align(self) -> None:
        self._bit_count = -(-self._bit_count // 8) * 8
        self._drain()

    def _drain(self) -> None:
        whole = self._bit_count // 8
        self._out += (self._bits & ((1 << 8 * whole) - 1)).to_bytes(whole, "little")
        self._bits >>= 8 * whole
        self._bit_count -= 8 * whole

    def _write_block(self, *, last: bool) -> None:
        """``_tr_flush_block``: stored, with the fixed codes or with codes of its own, whichever is shortest."""
        literals, distances = [0] * 286, [0] * 30
        literals[_END_BLOCK] = 1
        for distance, value in self._symbols:
            if distance:
                literals[_LENGTH_CODE[value] + _LITERALS + 1] += 1
                distances[_DISTANCE_CODE[distance - 1]] += 1
            else:
                literals[value] += 1
        literal_tree = _Tree(literals, _EXTRA_LENGTH, _LITERALS + 1, 15, _STATIC_LENGTHS)
        distance_tree = _Tree(distances, _EXTRA_DISTANCE, 0, 15, _STATIC_DISTANCE_LENGTHS)
        literal_runs = _runs(literal_tree.lengths[: literal_tree.max_code + 1])
        distance_runs = _runs(distance_tree.lengths[: distance_tree.max_code + 1])
        counts = [0] * 19
        for symbol, _, _ in (*literal_runs, *distance_runs):
            counts[symbol] += 1
        length_tree = _Tree(counts, _EXTRA_BIT_LENGTH, 0, 7, None)
        used = max([3, *(n for n, code in enumerate(_BIT_LENGTH_ORDER) if length_tree.lengths[code])])
        cost = literal_tree.cost + distance_tree.cost + length_tree.cost + 3 * (used + 1) + 14
        static_bytes = (literal_tree.static_cost + distance_tree.static_cost + 10) >> 3
        best_bytes = min((cost + 10) >> 3, static_bytes)
        stored = self._position - self._block_start
        if stored + 4 <= best_bytes:
            self._put(last, 3)
            self._align()
            self._out += stored.to_bytes(2, "little") + (stored ^ 0xFFFF).to_bytes(2, "little")
            self._out += self._data[self._block_start : self._position]
        elif static_bytes == best_bytes:
            self._put(2 + last, 3)
            self._put_symbols(_STATIC_CODES, _STATIC_LENGTHS, _STATIC_DISTANCE_CODES, _STATIC_DISTANCE_LENGTHS)
        else:
            self._put(4 + last, 3)
            self._put(literal_tree.max_code - 256, 5)
            self._put(distance_tree.max_code, 5)
            self._put(used - 3, 4)
            for code in _BIT_LENGTH_ORDER[: used + 1]:
                self._put(length_tree.lengths[code], 3)
            for symbol, value, bits in (*literal_runs, *distance_runs):
                self._put(length_tree.codes[symbol], length_tree.lengths[symbol])
                self._put(value, bits)
            self._put_symbols(literal_tree.codes, literal_tree.lengths, distance_tree.codes, distance_tree.lengths)
        self._symbols.clear()
        self._block_start = self._position
        if last:
            self._align()

    def _put_symbols(
        self, codes: list[int], lengths: list[int], distance_codes: list[int], distance_lengths: list[int]
    ) -> None:
        bits, count = self._bits, self._bit_count
        for distance, value in self._symbols:
            if not distance:
                bits |= codes[value] << count
                count += lengths[value]
            else:
                code = _LENGTH_CODE[value]
                symbol = code + _LITERALS + 1
                bits |= codes[symbol] << count
                count += lengths[symbol]
                bits |= (value - _BASE_LENGTH[code]) << count
                count += _EXTRA_LENGTH[code]
                code = _DISTANCE_CODE[distance - 1]
                bits |= distance_codes[code] << count
                count += distance_lengths[code]
                bits |= (distance - 1 - _BASE_DISTANCE[code]) << count
                count += _EXTRA_DISTANCE[code]
            if count > 512:
                self._bits, self._bit_count = bits, count
                self._drain()
                bits, count = self._bits, self._bit_count
        self._bits = bits | codes[_END_BLOCK] << count
        self._bit_count = count + lengths[_END_BLOCK]
        self._drain()
