"""What the ids of one field stand for, looked up: texts by their hashes, numbers by their bins (no torch)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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


Ids = npt.NDArray[np.int32]


def _check_ids(words: pl.DataFrame, table: AnySpec) -> Ids:
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
    ids: Ids
    seed: int

    @classmethod
    def of(cls, values: pl.Series, ids: Ids) -> _Index:
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

    def find(self, texts: pl.Series) -> Ids:
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

    def __len__(self) -> int:
        return len(self.as_read.ids)

    def texts(self) -> dict[str, int]:
        """The texts that training read, and their ids."""
        return dict(zip(self.as_read.values.to_list(), self.as_read.ids.tolist(), strict=True))

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

    def spellings(self) -> tuple[pl.Series, Ids]:
        """All texts that are found as they are or by being canonical: String [texts], int32 [texts]."""
        read, canonical = self.as_read, self._as_canonical
        more = np.flatnonzero(read.find(canonical.values) < 0)
        texts = pl.concat([read.values, canonical.values.gather(more)])
        return texts, np.concatenate([read.ids, canonical.ids[more]])

    def look_up(self, column: pl.Series, where: str) -> Ids:
        """Ids of values, int32 [rows]; -1 for values never seen. As :func:`find_texts`."""
        return find_texts(column, where, self.as_read.find, self._find_canonical)

    def _find_canonical(self, texts: pl.Series) -> Ids:
        found = self.as_read.find(texts)
        return np.where(found < 0, self._as_canonical.find(texts), found)


def find_texts(
    column: pl.Series, where: str, find: Callable[[pl.Series], Ids], find_canonical: Callable[[pl.Series], Ids]
) -> Ids:
    """Ids of values, int32 [rows]; -1 for values never seen.

    A text that training read is found as it is; another by the canonical text that it shares with one.

    Args:
        column: The values.
        where: What error messages call the frame.
        find: Gives the ids of texts that training read, -1 for others.
        find_canonical: The same for canonical texts.

    Raises:
        AutoDPQError: The column holds no single values.
    """
    texts = as_text(column, where)
    ids = find(texts)
    missing = np.flatnonzero(ids < 0)
    if len(missing):
        values, places = distinct(texts.gather(missing))
        ids[missing] = find_canonical(canonical_texts(values))[places]
    return ids


def _rise(edges: npt.NDArray[np.float64]) -> bool:
    """Whether bins rise from minus infinity."""
    return bool(edges[0] == -np.inf and (edges[1:] > edges[:-1]).all())


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
    ids: Ids
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
        absent = words["value"].gather(rest).to_list()
        if not _rise(edges) or absent[:1] not in ([], [""]) or len(set(ids[rest])) > 1:
            raise AutoDPQError("has bins that do not rise from minus infinity, or values that are in none")
        missing = int(ids[rest[0]]) if len(rest) else -1
        ids = ids[order]
        shared = ids == table.fallback
        if shared.sum() > 1:
            ids[shared] = -1
        return cls(Bins(edges), ids, missing, tuple(absent[1:]), table.fallback)

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is stored where other fields are hashed: ``edges``; ``ids``, the last that of missing numbers; ``texts``
        that stand for one, in JSON, where there are any."""
        arrays: dict[str, npt.NDArray[Any]] = {"edges": self.bins.edges}
        arrays["ids"] = np.append(self.ids, np.int32(self.missing))
        if self.texts:
            arrays["texts"] = np.frombuffer(json.dumps(self.texts).encode(), np.uint8)
        return arrays

    @classmethod
    def stored(
        cls, edges: npt.NDArray[Any], ids: npt.NDArray[Any], table: AnySpec, texts: npt.NDArray[Any] | None = None
    ) -> Numbers:
        """Takes what :attr:`arrays` gave.

        Raises:
            AutoDPQError: The arrays are not those of bins, or an id is outside the table.
        """
        typed = edges.dtype == np.float64 and ids.dtype == np.int32 and ids.shape == (edges.size + 1,)
        if not typed or edges.ndim != 1 or not len(edges) or not _rise(edges):
            raise AutoDPQError("has bins that do not rise from minus infinity")
        if ((ids < -1) | (ids >= table.n_rows)).any():
            raise AutoDPQError(f"has ids outside 0..{table.n_rows - 1}")
        try:
            absent = [] if texts is None else json.loads(texts.tobytes())
        except ValueError:
            absent = None
        if not isinstance(absent, list) or not all(isinstance(text, str) for text in absent):
            raise AutoDPQError("has texts for missing numbers that are none")
        return cls(Bins(edges), ids[:-1], int(ids[-1]), tuple(absent), table.fallback)

    def look_up(self, column: pl.Series, where: str) -> Ids:
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
