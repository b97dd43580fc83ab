"""Codes of ceil(log2 K) bits each, side by side without gaps (numpy only).

The codes of a table are one stream of bits: row after row, in a row subspace after subspace, each code from its lowest
bit to its highest, each byte from its lowest bit to its highest.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

from autodpq.ledger import code_bits

_CHUNK = 1 << 16  # rows; a multiple of 8, so that every chunk ends at a byte

# A word that starts at any byte holds this many bits from any bit of that byte on.
WORD_BITS = 57

Bytes = npt.NDArray[np.uint8]


def packed_size(n_rows: int, K: int, D: int) -> int:
    """Bytes of the packed codes of ``n_rows`` rows."""
    return -(-n_rows * D * code_bits(K) // 8)


def pack_codes(codes: npt.NDArray[np.integer], K: int) -> Bytes:
    """Packs codes.

    Args:
        codes: integer [n, D], each at least 0 and below K.
        K: Centroids per subspace.

    Returns:
        uint8 [ceil(n D ceil(log2 K) / 8)]; unused bits of the last byte are 0.
    """
    n_rows, D = codes.shape
    bits = code_bits(K)
    packed = np.empty(packed_size(n_rows, K, D), np.uint8)
    places = np.arange(bits, dtype=np.uint32)
    for start in range(0, n_rows, _CHUNK):
        chunk = codes[start : start + _CHUNK].astype(np.uint32)
        single = (chunk[:, :, None] >> places & 1).astype(np.uint8)
        first = start * D * bits // 8
        part = np.packbits(single.reshape(-1), bitorder="little")
        packed[first : first + len(part)] = part
    return packed


def unpack_codes(
    packed: Bytes, n_rows: int, K: int, D: int, rows: npt.NDArray[np.integer] | None = None
) -> npt.NDArray[np.int64]:
    """Codes of some rows, or of all.

    Args:
        packed: What :func:`pack_codes` gives for ``n_rows`` rows.
        n_rows: Rows that were packed.
        K: Centroids per subspace.
        D: Subspaces.
        rows: integer [m], each at least 0 and below ``n_rows``; None for all.

    Returns:
        int64 [m, D].
    """
    numbers = np.arange(n_rows) if rows is None else rows.astype(np.int64)
    return read_words(packed, numbers, D, code_bits(K))


def read_words(packed: Bytes, rows: npt.NDArray[np.int64], n_words: int, bits: int) -> npt.NDArray[np.int64]:
    """Reads rows of ``n_words`` numbers of ``bits`` bits each, at most :data:`WORD_BITS`.

    Returns:
        int64 [rows, n_words].
    """
    mask = (1 << bits) - 1
    if n_words * bits <= WORD_BITS:  # a whole row is in one word
        whole = _read(packed, rows * (n_words * bits))[:, None]
        return whole >> np.arange(0, n_words * bits, bits, dtype=np.int64) & mask
    starts = (rows * (n_words * bits))[:, None] + np.arange(0, n_words * bits, bits, dtype=np.int64)
    return _read(packed, starts) & mask


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
