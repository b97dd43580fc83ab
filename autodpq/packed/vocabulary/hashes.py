"""The texts of one field as their hashes, sorted and mapped, found by bisection where they lie (no torch).

The upper bits of a hash say in which bucket it lies, of at most eight on average; the 32 bits behind them are stored,
with the id. So a text that was never seen is taken for one that was with a chance of at most 8 in 2^32, one in 500
million.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.choices.codes import Bytes, pack_words, read_words, words_size
from autodpq.data.xxh64 import xxh64
from autodpq.errors import AutoDPQError
from autodpq.packed.spec import AnySpec
from autodpq.packed.vocabulary.words import Ids, Words, find_texts

_WHOLE, _STORED = 64, 32  # bits
_EIGHT = 3  # bits


def _id_bits(table: AnySpec) -> int:
    return max((table.n_rows - 1).bit_length(), 1)


@dataclass(frozen=True)
class Hashes:
    """One field's values.

    Attributes:
        starts: uint32 [buckets + 1], rising: the first place of each bucket, then the number of texts.
        rests: uint32 [texts]: of each hash the 32 bits behind those that say its bucket, rising within a bucket.
        ids: uint8 [bytes]: of each hash the id, packed by :func:`autodpq.choices.codes.pack_words`.
        id_bits: Bits of an id.
        fallback: The id of values never seen.
    """

    starts: npt.NDArray[np.uint32]
    rests: npt.NDArray[np.uint32]
    ids: Bytes
    id_bits: int
    fallback: int

    @classmethod
    def of(cls, words: Words, table: AnySpec) -> Hashes:
        """Hashes the texts of a field, and the canonical ones of those that training read in another form.

        Raises:
            AutoDPQError: Two texts have one hash.
        """
        texts, ids = words.spellings()
        hashes = xxh64(texts)
        order = np.argsort(hashes)
        hashes, n = hashes[order], len(hashes)
        nearest = int((hashes[1:] ^ hashes[:-1]).min(initial=np.iinfo(np.uint64).max))
        # As many buckets as tell all texts apart: of ten million, two share 53 bits in one case of two hundred.
        bits = max(n.bit_length() - _EIGHT, _WHOLE + 1 - nearest.bit_length() - _STORED, 0)
        if bits > _STORED:
            raise AutoDPQError("has two values of one hash; export it with its texts")
        hashes >>= np.uint64(_WHOLE - _STORED - bits)
        starts = np.searchsorted(hashes >> np.uint64(_STORED), np.arange((1 << bits) + 1, dtype=np.uint64))
        packed = pack_words(ids[order, None], _id_bits(table))
        rests = hashes.astype(np.uint32)  # the lower half
        return cls(starts.astype(np.uint32), rests, packed, _id_bits(table), table.fallback)

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is stored of it."""
        return {"starts": self.starts, "rests": self.rests, "ids": self.ids}

    @classmethod
    def stored(cls, starts: npt.NDArray[Any], rests: npt.NDArray[Any], ids: npt.NDArray[Any], table: AnySpec) -> Hashes:
        """Takes what :attr:`arrays` gave.

        Raises:
            AutoDPQError: The arrays are not those of hashes, or an id is outside the table.
        """
        n, id_bits, n_buckets = rests.size, _id_bits(table), starts.size - 1
        if (
            not starts.dtype == rests.dtype == np.uint32 or ids.dtype != np.uint8
            or rests.shape != (n,) or ids.shape != (words_size(n, 1, id_bits),)
            or starts.ndim != 1 or n_buckets < 1 or n_buckets & n_buckets - 1
            or starts[0] != 0 or starts[-1] != n or (starts[1:] < starts[:-1]).any()
        ):  # fmt: skip
            raise AutoDPQError("has hashes that are not stored as they should be")
        if n and (read_words(ids, np.arange(n), 1, id_bits) >= table.n_rows).any():
            raise AutoDPQError(f"has ids outside 0..{table.n_rows - 1}")
        return cls(starts, rests, ids, id_bits, table.fallback)

    def find(self, texts: pl.Series) -> Ids:
        """Their ids, int32 [rows]; -1 where one is not there."""
        n = len(self.rests)
        if not n:
            return np.full(len(texts), -1, np.int32)
        bits = (len(self.starts) - 1).bit_length() - 1
        hashes = xxh64(texts) >> np.uint64(_WHOLE - _STORED - bits)
        buckets, rests = (hashes >> np.uint64(_STORED)).astype(np.int64), hashes.astype(np.uint32)
        low, end = (self.starts[buckets + number].astype(np.int64) for number in (0, 1))
        high = end
        for _ in range(int((end - low).max(initial=0)).bit_length()):
            middle = low + high >> 1
            behind = (self.rests[middle.clip(max=n - 1)] < rests) & (low < high)
            low, high = np.where(behind, middle + 1, low), np.where(behind, high, middle)
        places = low.clip(max=n - 1)
        known = (low < end) & (self.rests[places] == rests)
        return np.where(known, read_words(self.ids, places, 1, self.id_bits)[:, 0], -1).astype(np.int32)

    def look_up(self, column: pl.Series, where: str) -> Ids:
        """Ids of values, int32 [rows]; -1 for values never seen. As :func:`find_texts`."""
        return find_texts(column, where, self.find, self.find)
