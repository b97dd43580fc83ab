"""What the ids of one field stand for, looked up: texts by their hashes, numbers by their bins (no torch)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.binning import Bins, as_numbers
from autodpq.data.values import as_text
from autodpq.errors import AutoDPQError
from autodpq.packed.spec import TableSpec

AT_LEAST = "at_least"
"""The least number of a bin; the column is there where a field is binned, so that files without are as they were."""
_SEEDS = 4  # that two of ten million values share a 64-bit hash under each of them does not happen


def _check_ids(words: pl.DataFrame, table: TableSpec) -> None:
    if words["id"].has_nulls():
        raise AutoDPQError("has missing values")
    if not words["id"].is_between(0, table.n_rows - 1).all():
        raise AutoDPQError(f"has ids outside 0..{table.n_rows - 1}")


@dataclass(frozen=True)
class Words:
    """One field's values by rising hash, so that a value is found by bisection in the numbers.

    Attributes:
        hashes: uint64 [values], rising.
        values: String [values].
        ids: int32 [values].
        seed: Of the hashes.
        fallback: The id of values never seen.
    """

    hashes: npt.NDArray[np.uint64]
    values: pl.Series
    ids: npt.NDArray[np.int32]
    seed: int
    fallback: int

    @classmethod
    def of(cls, words: pl.DataFrame, table: TableSpec) -> Words:
        """Sorts columns id and value.

        Raises:
            AutoDPQError: An id is outside the table, or a value is missing or there twice.
        """
        if words["value"].has_nulls():
            raise AutoDPQError("has missing values")
        _check_ids(words, table)
        for seed in range(_SEEDS):
            hashes = words["value"].hash(seed).to_numpy()
            order = np.argsort(hashes)
            hashes = hashes[order]
            if not (hashes[1:] == hashes[:-1]).any():
                return cls(hashes, words["value"].gather(order), words["id"].to_numpy()[order], seed, table.fallback)
        raise AutoDPQError("has a value twice")

    def look_up(self, column: pl.Series, where: str) -> npt.NDArray[np.int32]:
        """Ids of values, int32 [rows]; -1 for values never seen.

        Raises:
            AutoDPQError: The column holds no single values.
        """
        text = as_text(column, where)
        if not len(self.ids):
            return np.full(len(text), -1, np.int32)
        places = np.searchsorted(self.hashes, text.hash(self.seed).to_numpy()).clip(max=len(self.ids) - 1)
        known = (self.values.gather(places) == text).to_numpy()
        return np.where(known, self.ids[places], np.int32(-1))


@dataclass(frozen=True)
class Numbers:
    """One field's bins.

    Attributes:
        bins: The bins.
        ids: int32 [bins]; -1 where a bin was not counted.
        missing: The id of missing numbers; -1 where there were none.
        fallback: The id of values never seen.
    """

    bins: Bins
    ids: npt.NDArray[np.int32]
    missing: int
    fallback: int

    @classmethod
    def of(cls, words: pl.DataFrame, table: TableSpec) -> Numbers:
        """Takes columns id, value and at_least.

        Raises:
            AutoDPQError: An id is outside the table or missing, or the bins are none.
        """
        _check_ids(words, table)
        ordered = words.drop_nulls(AT_LEAST).sort(AT_LEAST)
        edges, ids = ordered[AT_LEAST].to_numpy(), ordered["id"].to_numpy().copy()
        rest = words.filter(pl.col(AT_LEAST).is_null())
        if edges[0] != -np.inf or not (edges[1:] > edges[:-1]).all() or rest["value"].to_list() not in ([], [""]):
            raise AutoDPQError("has bins that do not rise from minus infinity, or values that are in none")
        shared = ids == table.fallback
        if shared.sum() > 1:
            ids[shared] = -1
        return cls(Bins(edges), ids, rest["id"][0] if len(rest) else -1, table.fallback)

    def look_up(self, column: pl.Series, where: str) -> npt.NDArray[np.int32]:
        """Ids of numbers or their texts, int32 [rows]; -1 for values never seen, as what is no number.

        Raises:
            AutoDPQError: The column holds no single values.
        """
        numbers, wrong = as_numbers(column, where)
        ids = self.ids[self.bins.indices(numbers.fill_null(0.0).to_numpy())]
        ids[numbers.is_null().to_numpy()] = self.missing
        ids[wrong.to_numpy()] = -1
        return ids
