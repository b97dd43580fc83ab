"""Small integers of a few bits each, side by side without gaps (numpy only).

The numbers of a table are one stream of bits: row after row, in a row number after number, each from its lowest bit to
its highest, each byte from its lowest bit to its highest.
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
import numpy.typing as npt

_CHUNK = 1 << 16  # rows; a multiple of 8, so that every chunk ends at a byte

# A word that starts at any byte holds this many bits from any bit of that byte on.
WORD_BITS = 57

Bytes = npt.NDArray[np.uint8]


def words_size(n_rows: int, n_words: int, bits: int) -> int:
    """Bytes of ``n_rows`` rows of ``n_words`` numbers of ``bits`` bits."""
    return -(-n_rows * n_words * bits // 8)


def pack_words(numbers: npt.NDArray[np.integer], bits: int) -> Bytes:
    """Packs numbers.

    Args:
        numbers: integer [n, words], each at least 0 and below 2^bits.
        bits: Bits of a number.

    Returns:
        uint8 [ceil(n words bits / 8)]; unused bits of the last byte are 0.
    """
    n_rows, n_words = numbers.shape
    packed = np.empty(words_size(n_rows, n_words, bits), np.uint8)
    places = np.arange(bits, dtype=np.uint32)
    for start in range(0, n_rows, _CHUNK):
        chunk = numbers[start : start + _CHUNK].astype(np.uint32)
        single = (chunk[:, :, None] >> places & 1).astype(np.uint8)
        first = start * n_words * bits // 8
        part = np.packbits(single.reshape(-1), bitorder="little")
        packed[first : first + len(part)] = part
    return packed


@cache
def n_at_once(n_words: int, bits: int) -> int:
    """How many numbers of a row are read by one word: all, or as many as divide the row."""
    return max(n for n in range(1, n_words + 1) if n == 1 or (n_words % n == 0 and n * bits <= WORD_BITS))


def read_words(packed: Bytes, rows: npt.NDArray[np.int64], n_words: int, bits: int) -> npt.NDArray[np.int64]:
    """Reads rows of ``n_words`` numbers of ``bits`` bits each, at most :data:`WORD_BITS`.

    Args:
        packed: What :func:`pack_words` gives.
        rows: int64 [m], each at least 0 and below the number of rows packed.
        n_words: Numbers of a row.
        bits: Bits of a number.

    Returns:
        int64 [m, n_words].
    """
    at_once = n_at_once(n_words, bits)
    starts = rows * (n_words * bits)
    if at_once < n_words:
        starts = (starts[:, None] + np.arange(0, n_words * bits, at_once * bits, dtype=np.int64)).reshape(-1)
    words = _read(packed, starts)[:, None] >> np.arange(0, at_once * bits, bits, dtype=np.int64) & (1 << bits) - 1
    return words.reshape(len(rows), n_words)


def _read(packed: Bytes, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The bits from each start on, at least :data:`WORD_BITS` of them as far as there are so many."""
    if len(packed) < 8:
        packed = np.concatenate([packed, np.zeros(8 - len(packed), np.uint8)])
    # Every byte begins a word, so that one look-up gives eight bytes.
    words = np.ndarray((len(packed) - 7,), "<u8", packed, strides=(1,))
    first = np.minimum(starts >> 3, len(words) - 1)
    found = words[first] >> (starts - 8 * first).astype(np.uint64)
    # The highest bit may be set, which is no number of int64; those who ask never read it.
    result: npt.NDArray[np.int64] = (found & np.uint64(sys.maxsize)).astype(np.int64)
    return result
