"""What the ids of one field stand for, looked up: texts by their hashes, numbers by their bins (no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.binning import Bins, as_numbers
from autodpq.data.values import as_text, canonical_texts, distinct, is_one_of
from autodpq.errors import AutoDPQError
from autodpq.packed.spec import AnySpec

AT_LEAST = "at_least"
"""The least number of a bin; the column is there where a field is binned, so that files without are as they were."""
_SEEDS = 4  # that two of ten million values share a 64-bit hash under each of them does not happen


def _check_ids(words: pl.DataFrame, table: AnySpec) -> npt.NDArray[np.int32]:
    """The ids of columns of words, int32 [values]."""
    if words["id"].has_nulls():
        raise AutoDPQError("has missing values")
    ids = words["id"].to_numpy()
    if ((ids < 0) | (ids >= table.n_rows)).any():
        raise AutoDPQError(f"has ids outside 0..{table.n_rows - 1}")
    return ids


@dataclass(frozen=True)
class _Index:
    """Texts by rising hash, so that one is found by bisection in the numbers.

    Attributes:
        hashes: uint64 [values], rising.
        values: String [values].
        ids: int32 [values].
        seed: Of the hashes.
    """

    hashes: npt.NDArray[np.uint64]
    values: pl.Series
    ids: npt.NDArray[np.int32]
    seed: int

    @classmethod
    def of(cls, values: pl.Series, ids: npt.NDArray[np.int32]) -> _Index:
        """Sorts texts.

        Raises:
            AutoDPQError: One is there twice.
        """
        for seed in range(_SEEDS):
            hashes = values.hash(seed).to_numpy()
            order = np.argsort(hashes)
            hashes = hashes[order]
            if not (hashes[1:] == hashes[:-1]).any():
                return cls(hashes, values.gather(order), ids[order], seed)
        raise AutoDPQError("has a value twice")

    def find(self, texts: pl.Series) -> npt.NDArray[np.int32]:
        """Their ids, int32 [rows]; -1 where one is not there."""
        if not len(self.ids):
            return np.full(len(texts), -1, np.int32)
        places = np.searchsorted(self.hashes, texts.hash(self.seed).to_numpy()).clip(max=len(self.ids) - 1)
        known = (self.values.gather(places) == texts).to_numpy()
        return np.where(known, self.ids[places], np.int32(-1))


@dataclass(frozen=True)
class Words:
    """One field's values.

    Attributes:
        as_read: By the texts that training read.
        fallback: The id of values never seen.
    """

    as_read: _Index
    fallback: int

    @classmethod
    def of(cls, words: pl.DataFrame, table: AnySpec) -> Words:
        """Takes columns id and value.

        Raises:
            AutoDPQError: An id is outside the table, or a value is missing or there twice.
        """
        if words["value"].has_nulls():
            raise AutoDPQError("has missing values")
        return cls(_Index.of(words["value"], _check_ids(words, table)), table.fallback)

    @cached_property
    def _as_canonical(self) -> _Index:
        """By their canonical texts, those that training read in another form; of one value the most frequent one."""
        by_id = np.argsort(self.as_read.ids, kind="stable")
        read, ids = self.as_read.values.gather(by_id), self.as_read.ids[by_id]
        texts = canonical_texts(read)
        changed = np.flatnonzero((texts != read).to_numpy())
        values, places = distinct(texts.gather(changed))
        _, first = np.unique(places, return_index=True)
        return _Index.of(values, ids[changed[first]])

    def look_up(self, column: pl.Series, where: str) -> npt.NDArray[np.int32]:
        """Ids of values, int32 [rows]; -1 for values never seen.

        A text that training read is found as it is; another by the canonical text that it shares with one.

        Raises:
            AutoDPQError: The column holds no single values.
        """
        texts = as_text(column, where)
        ids = self.as_read.find(texts)
        missing = np.flatnonzero(ids < 0)
        if len(missing):
            values, places = distinct(texts.gather(missing))
            canonical = canonical_texts(values)
            found = self.as_read.find(canonical)
            ids[missing] = np.where(found < 0, self._as_canonical.find(canonical), found)[places]
        return ids


@dataclass(frozen=True)
class Numbers:
    """One field's bins.

    Attributes:
        bins: The bins.
        ids: int32 [bins]; -1 where a bin was not counted.
        missing: The id of missing numbers; -1 where there were none.
        texts: Canonical texts that stand for a missing number.
        fallback: The id of values never seen.
    """

    bins: Bins
    ids: npt.NDArray[np.int32]
    missing: int
    texts: tuple[str, ...]
    fallback: int

    @classmethod
    def of(cls, words: pl.DataFrame, table: AnySpec) -> Numbers:
        """Takes columns id, value and at_least.

        Raises:
            AutoDPQError: An id is outside the table or missing, or the bins are none.
        """
        ids, edges = _check_ids(words, table), words[AT_LEAST].to_numpy()  # NaN where there is none
        binned = words[AT_LEAST].is_not_null().to_numpy()
        rest = np.flatnonzero(~binned)
        order = np.flatnonzero(binned)[np.argsort(edges[binned], kind="stable")]
        edges = edges[order]
        rises = edges[0] == -np.inf and (edges[1:] > edges[:-1]).all()
        absent = words["value"].gather(rest).to_list()
        if not rises or absent[:1] not in ([], [""]) or len(set(ids[rest])) > 1:
            raise AutoDPQError("has bins that do not rise from minus infinity, or values that are in none")
        missing = int(ids[rest[0]]) if len(rest) else -1
        ids = ids[order]
        shared = ids == table.fallback
        if shared.sum() > 1:
            ids[shared] = -1
        return cls(Bins(edges), ids, missing, tuple(absent[1:]), table.fallback)

    def look_up(self, column: pl.Series, where: str) -> npt.NDArray[np.int32]:
        """Ids of numbers or their texts, int32 [rows]; -1 for values never seen, as what is no number.

        Raises:
            AutoDPQError: The column holds no single values.
        """
        numbers, wrong = as_numbers(column, where)
        if self.texts:
            stands = is_one_of(column, self.texts, where)
            numbers, wrong = np.where(stands, np.nan, numbers), wrong & ~stands
        absent = np.isnan(numbers)
        ids = self.ids[self.bins.indices(np.where(absent, 0, numbers))]
        ids[absent] = self.missing
        ids[wrong] = -1
        return ids
