"""Numbers for the distinct chunks of text: words occur again and again, so each is handled once.

Text is cut, and its chunks are looked up, in compiled code at about 100 MB/s
(one core, English). Chunks are found without knowing any language: by the
spaces, punctuation marks and ideographs at which a tokenizer separates words
anyway.
"""

from collections.abc import Iterator, Sequence
from typing import get_args, no_type_check

import numpy as np
from jaxtyping import Int
from numba import njit

from bert_jax.tokenizers.runtime import Cut


class Chunks:
    """The distinct chunks seen so far, numbered in the order in which they came."""

    def __init__(self, cut: Cut):
        self._level = get_args(Cut).index(cut)
        self._bytes = np.zeros(1 << 16, np.uint8)
        self._chunks = np.zeros(1 << 12, _CHUNK)
        self._slots = np.full(1 << 13, -1, np.int32)
        self._size = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return int(self._size[0])

    @property
    def num_bytes(self) -> int:
        """Size of the chunks' texts."""
        return int(self._chunks[len(self)]["start"])

    def number(
        self, texts: bytes, ends: Int[np.ndarray, " S"]
    ) -> tuple[Int[np.ndarray, " C"], Int[np.ndarray, " S"]]:
        """The chunks of texts, in order, and how many of them each text has.

        Args:
          texts: UTF-8, one after the other; not checked here.
          ends: where each of the S texts ends.
        """
        text = np.frombuffer(texts, np.uint8)
        most = len(ends) + _count_cuts(text, self._level)
        self._make_room(most, len(text))
        numbers, counts = np.empty(most, np.int32), np.empty(len(ends), np.int32)
        found = _number_chunks(
            text,
            ends,
            self._level,
            self._bytes,
            self._chunks,
            self._slots,
            self._size,
            numbers,
            counts,
        )
        return numbers[:found], counts

    def texts(self, first: int = 0) -> Iterator[str]:
        """The chunks from number `first` on."""
        starts = self._chunks["start"]
        for number in range(first, len(self)):
            yield self._bytes[starts[number] : starts[number + 1]].tobytes().decode()

    def _make_room(self, num_chunks: int, num_bytes: int) -> None:
        """For so many more, should none of them have been seen before."""
        self._bytes = _grown(self._bytes, self.num_bytes + num_bytes)
        self._chunks = _grown(self._chunks, len(self) + num_chunks + 1)
        if 2 * (len(self) + num_chunks) > len(self._slots):
            self._slots = np.full(1 << (4 * (len(self) + num_chunks)).bit_length(), -1, np.int32)
            _index(self._chunks, len(self), self._slots)


def concatenated(texts: Sequence[str]) -> tuple[bytes, Int[np.ndarray, " S"]]:
    """Texts as `Chunks.number` takes them.

    Raises:
      UnicodeEncodeError: a lone surrogate.
    """
    encoded = [text.encode() for text in texts]
    return b"".join(encoded), np.cumsum([len(text) for text in encoded], dtype=np.int64)


def _grown(array: np.ndarray, length: int) -> np.ndarray:
    if length <= len(array):
        return array
    grown = np.zeros(2 * length, array.dtype)
    grown[: len(array)] = array
    return grown


# `start` is where a chunk's text lies; it ends where the next one's starts.
_CHUNK = np.dtype([("hash", np.uint64), ("start", np.int64)])

_AT_SPACES, _AT_PUNCTUATION, _AT_IDEOGRAPHS = 1, 2, 3  # levels of `Cut`
_SPACE, _PUNCTUATION, _IDEOGRAPH = 1, 2, 3  # kinds of bytes
_KINDS = np.zeros(256, np.uint8)
_KINDS[ord(" ")] = _SPACE
_KINDS[[*range(33, 48), *range(58, 65), *range(91, 97), *range(123, 127)]] = _PUNCTUATION
_KINDS[0xE4:0xEA] = _IDEOGRAPH  # the first byte of U+4000 to U+9FFF


@njit(cache=True, nogil=True)
@no_type_check
def _count_cuts(text, level):
    """At least as many as `_number_chunks` makes."""
    spaces = others = 0
    for byte in text:
        spaces += _KINDS[byte] == _SPACE
        others += _KINDS[byte] > _SPACE
    return (level >= _AT_SPACES) * spaces + (level >= _AT_PUNCTUATION) * 2 * others


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _is_cut(text, start, place, end, level):
    """Whether a chunk that starts at `start` ends before `place`, in a text that ends at `end`."""
    before, after = _KINDS[text[place - 1]], _KINDS[text[place]]
    if after == _SPACE:
        return level >= _AT_SPACES and not _is_space_before(text, start, place)
    if level < _AT_PUNCTUATION:
        return False
    if before == _PUNCTUATION:
        return text[place] < 0x80 or _is_ideograph(text, place, level)
    if after == _PUNCTUATION:
        return before != _SPACE and (place + 1 == end or text[place + 1] < 0x80)
    return _is_ideograph(text, place, level)


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _is_ideograph(text, place, level):
    """Whether one from U+4E00 to U+9FFF, which takes three bytes, may be cut off at `place`."""
    return (
        level >= _AT_IDEOGRAPHS
        and _KINDS[text[place]] == _IDEOGRAPH
        and (text[place] > 0xE4 or text[place + 1] >= 0xB8)
    )


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _is_space_before(text, start, place):
    """Whether the character that ends before `place` is white space.

    UTF-8 of U+0085, U+00A0, U+1680, U+2000-200A, 2028, 2029, 202F, 205F and 3000,
    beside ASCII's. With the separators 1C-1F, which only some libraries count.
    """
    last = text[place - 1]
    if last < 0x80:
        return last == 0x20 or 0x09 <= last <= 0x0D or 0x1C <= last <= 0x1F
    if place - start < 3:
        return place - start == 2 and text[place - 2] == 0xC2 and (last == 0x85 or last == 0xA0)
    lead, middle = text[place - 3], text[place - 2]
    if middle == 0xC2:
        return last == 0x85 or last == 0xA0
    if lead == 0xE2 and middle == 0x80:
        return last <= 0x8A or last == 0xA8 or last == 0xA9 or last == 0xAF
    return (
        (lead == 0xE2 and middle == 0x81 and last == 0x9F)
        or (lead == 0xE3 and middle == 0x80 and last == 0x80)
        or (lead == 0xE1 and middle == 0x9A and last == 0x80)
    )


@njit(cache=True, nogil=True)
@no_type_check
def _number_chunks(text, ends, level, held, chunks, slots, size, numbers, counts):
    """Fills in the numbers of all chunks and how many each text has; returns their total."""
    mask = len(slots) - 1
    found = start = 0
    for sentence in range(len(ends)):
        found_before = found
        while start < ends[sentence]:
            # FNV-1a, 64 bits (Fowler, Noll & Vo).
            value = np.uint64(0xCBF29CE484222325)
            end = start
            alone = start + 3 if _is_ideograph(text, start, level) else -1
            while True:
                value = (value ^ np.uint64(text[end])) * np.uint64(0x100000001B3)
                end += 1
                if end == ends[sentence] or end == alone:
                    break
                # Asked of every byte, so the answer for letters comes first.
                if (_KINDS[text[end - 1]] > 0 or _KINDS[text[end]] > 0) and _is_cut(
                    text, start, end, ends[sentence], level
                ):
                    break
            slot = np.int64(value >> np.uint64(20)) & mask
            while True:
                number = slots[slot]
                if number < 0:
                    number = _add(text, start, end, value, held, chunks, size)
                    slots[slot] = number
                    break
                if chunks[number].hash == value:
                    offset = chunks[number].start
                    place = start
                    if chunks[number + 1].start - offset == end - start:
                        while place < end and held[offset + place - start] == text[place]:
                            place += 1
                    if place == end:
                        break
                slot = (slot + 1) & mask
            numbers[found] = number
            found += 1
            start = end
        counts[sentence] = found - found_before
    return found


@njit(cache=True, nogil=True)
@no_type_check
def _add(text, start, end, value, held, chunks, size):
    """Holds a new chunk; returns its number."""
    number = size[0]
    size[0] += 1
    chunks[number].hash = value
    offset = chunks[number].start
    for place in range(start, end):
        held[offset + place - start] = text[place]
    chunks[number + 1].start = offset + end - start
    return number


@njit(cache=True)
@no_type_check
def _index(chunks, size, slots):
    mask = len(slots) - 1
    for number in range(size):
        slot = np.int64(chunks[number].hash >> np.uint64(20)) & mask
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = number
