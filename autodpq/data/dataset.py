"""Encoded data sets: frequency-ranked ids, labels and what is known of the source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.inventory import read_inventory, write_inventory
from autodpq.data.remarks import Column
from autodpq.data.source import BATCH_ROWS
from autodpq.errors import AutoDPQError
from autodpq.files import whole_folder
from autodpq.plan import NO_ID, Bag, Bands, CompressionPlan, Field, band_cuts, column_slices

IntArray = npt.NDArray[np.integer]

_IDS = "ids.npy"
_NAMES_ROWS = 0.9  # distinct values per row from which on a field seems to name rows


@dataclass(frozen=True)
class Truth:
    """What is known of generated data.

    Attributes:
        plan: The plan that suffices: the prototypes that the rare values were drawn from.
        probabilities: float32 [rows], the true click probability of each row.
    """

    plan: CompressionPlan
    probabilities: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Samples:
    """Rows that training or evaluation reads.

    Attributes:
        ids: int32 [rows, columns], frequency ranks within each field, as :class:`EncodedDataset` has them.
        labels: uint8 [rows], 1 is a click.
        weights: float64 [rows], how much each row counts beside the others, not negative; None where all count the
            same.
    """

    ids: npt.NDArray[np.int32]
    labels: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.float64] | None = None

    @property
    def relative_weights(self) -> npt.NDArray[np.float64] | None:
        """The weights in units of their mean, float64 [rows]: so that they add up to the number of rows."""
        return None if self.weights is None else self.weights / self.weights.mean()

    def mean_of(self, values: npt.NDArray[np.number]) -> float:
        """The mean of values of the rows, [rows], each counting by its weight."""
        return float(values.mean() if self.weights is None else np.average(values, weights=self.weights))

    @property
    def click_rate(self) -> float:
        """The share of clicks."""
        return self.mean_of(self.labels)

    def in_memory(self) -> Samples:
        """The same rows, for a machine that the file is not on."""
        return replace(self, ids=np.array(self.ids))

    def __reduce__(self) -> tuple[Any, ...]:
        """What is sent to another process: of memory-mapped ids the file, rather than gigabytes."""
        if isinstance(self.ids, np.memmap) and self.ids.filename is not None:
            return _open_samples, (str(self.ids.filename), self.labels, self.weights)
        return Samples, (self.ids, self.labels, self.weights)

    def __len__(self) -> int:
        return len(self.labels)


def _open_samples(path: str, labels: npt.NDArray[np.uint8], weights: npt.NDArray[np.float64] | None) -> Samples:
    return Samples(np.load(path, mmap_mode="r", allow_pickle=False), labels, weights)


def rarest_counts(
    ids: npt.NDArray[np.int32], counts: Sequence[npt.NDArray[np.int64]], columns: Sequence[int]
) -> npt.NDArray[np.int64]:
    """How often the rarest value of each row occurs, int64 [rows].

    Args:
        ids: int32 [rows, columns].
        counts: Per field, int64 [cardinality]; an empty array leaves a field out.
        columns: Columns of ids per field.
    """
    rarest = np.full(len(ids), np.iinfo(np.int64).max)
    for own, slice_ in zip(counts, column_slices(columns), strict=True):
        for column in range(slice_.start, slice_.stop) if len(own) else ():
            of_column = own[ids[:, column]]
            if column > slice_.start:  # the first value of a bag is always there
                of_column = np.where(ids[:, column] == NO_ID, rarest, of_column)
            np.minimum(rarest, of_column, out=rarest)
    return rarest


def _mapped(
    folder: Path, shape: tuple[int, ...], fill: Callable[[npt.NDArray[np.int32]], None]
) -> npt.NDArray[np.int32]:
    """Ids in a folder of the cache, memory-mapped; ``fill`` makes them where they are not there, or are damaged."""

    def read() -> npt.NDArray[np.int32] | None:
        if read_inventory(folder) is None:
            return None
        ids: npt.NDArray[np.int32] = np.load(folder / _IDS, mmap_mode="r", allow_pickle=False)
        return ids

    def write(partial: Path) -> None:
        ids = np.lib.format.open_memmap(partial / _IDS, "w+", np.dtype(np.int32), shape)
        fill(ids)
        ids.flush()
        write_inventory(partial, {})

    return whole_folder(folder, read, write)


@dataclass(frozen=True)
class EncodedDataset:
    """A data set as training sees it.

    Attributes:
        name: Name of the data set, or of its file.
        field_names: The categorical fields, in the source's order.
        ids: int32 [rows, columns], memory-mapped; within a field, ids are ranks by falling frequency (ties by value). A
            field has one column, or several of bags, in which ``NO_ID`` stands behind the values of a short one.
        labels: uint8 [rows], 0 or 1.
        counts: Per field, int64 [cardinality]: how often each id occurs among the counted rows, never rising.
        time: [rows] or None: what a chronological split sorts by.
        split_column: int8 [rows] or None: 0 train, 1 validation, 2 test, as the source says.
        fingerprint: Hexadecimal digest of the source and of the settings it was encoded with.
        truth: What is known of generated data.
        folder: The cache folder that holds the encoded files and the vocabulary; None for data built in memory.
        ranks: Per field, int32 [values]: from the id of the vocabulary to the id used here; None where they are equal.
        binned: Fields of numbers, each with its number of bins.
        missing: Canonical texts that stood for missing values where it was read.
        weights: float64 [rows], how much each row counts; None where all count the same.
        bags: The fields of several values a row.
    """

    name: str
    field_names: tuple[str, ...]
    ids: npt.NDArray[np.int32]
    labels: npt.NDArray[np.uint8]
    counts: tuple[npt.NDArray[np.int64], ...]
    time: npt.NDArray[np.int64 | np.float64] | None
    split_column: npt.NDArray[np.int8] | None
    fingerprint: str
    truth: Truth | None = None
    folder: Path | None = None
    ranks: tuple[npt.NDArray[np.int32], ...] | None = None
    binned: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    weights: npt.NDArray[np.float64] | None = None
    bags: Mapping[str, Bag] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def columns(self) -> tuple[int, ...]:
        """How many columns of ids each field has."""
        return tuple(self.bags[name].columns if name in self.bags else 1 for name in self.field_names)

    def fields(self, threshold: int) -> tuple[Field, ...]:
        """The fields, each with its head: the values that occur at least ``threshold`` times.

        Raises:
            AutoDPQError: The threshold is below 1, or above every count, so that no value would be frequent.
        """
        if threshold < 1:
            raise AutoDPQError(f"threshold {threshold}: a value is frequent from a count of at least 1")
        fields = tuple(
            Field(name, len(counts), int(np.searchsorted(-counts, -threshold, side="right")), columns=columns)
            for name, counts, columns in zip(self.field_names, self.counts, self.columns, strict=True)
        )
        if not any(field.head for field in fields):
            largest = max(int(counts[0]) for counts in self.counts)
            raise AutoDPQError(f"threshold {threshold} is above every count of {self.name!r} (largest: {largest})")
        return fields

    def banded(self, bands: Bands) -> tuple[Field, ...]:
        """The fields in bands by how often values occur, none of them kept.

        Args:
            bands: As :func:`autodpq.plan.band_cuts` takes them.

        Raises:
            AutoDPQError: The counts do not fall, or the first band would have no value of any field.
        """
        cuts = band_cuts(self.counts, bands, f"value of {self.name!r}")
        own = zip(self.field_names, self.counts, cuts, self.columns, strict=True)
        return tuple(Field(name, len(counts), 0, of_field, columns) for name, counts, of_field, columns in own)

    def notes(self) -> tuple[str, ...]:
        """What was done to the source's values, and what a person should look at, one line each."""
        lines = []
        if self.binned:
            fields = ", ".join(f"{name} ({count} bins)" for name, count in self.binned.items())
            lines.append(
                f"Numbers are binned by quantiles of all rows, a missing one being a value of its own: {fields}"
            )
        for name, bag in self.bags.items():
            between = f" between {bag.separator!r}" if bag.separator else ""
            lines.append(f"{name} is read as bags of up to {bag.columns} values{between}, an empty one being a value")
        if self.weights is not None:
            used = self.weights > 0
            lines.append(
                f"Rows count by their weights, from {self.weights[used].min():.4g} to {self.weights.max():.4g}"
                + (f", {len(self) - int(used.sum()):,} of them by none" if not used.all() else "")
                + f"; the click rate, {self.labels.mean():.4f} by rows, is "
                f"{np.average(self.labels, weights=self.weights):.4f} by weight"
            )
        columns = list(self._columns())
        times = [] if self.time is not None else [column.name for column in columns if column.is_time]
        for name in self.row_names():
            if name not in times:
                lines.append(f"{name} has a value of its own in nearly every row; if it names rows, exclude it")
        for column in columns:
            lines.extend(column.notes(split_by_time=self.time is not None))
        return tuple(lines)

    def _columns(self) -> Iterator[Column]:
        """The fields' values as they were read; none of data built in memory, or counted anew."""
        if self.folder is None or self.ranks is not None:
            return
        words = self.vocabulary()
        starts = np.cumsum([0, *map(len, self.counts)])
        for place, (name, counts) in enumerate(zip(self.field_names, self.counts, strict=True)):
            own = words.slice(starts[place], len(counts))
            least = own["at_least"].drop_nulls().to_numpy() if name in self.binned else None
            yield Column(name, own["value"], counts, least, partial(self._first_row, place), name in self.bags)

    def _first_row(self, place: int, chosen: npt.NDArray[np.bool_]) -> int:
        """The first row, from 1, that has a chosen id of a field."""
        own = column_slices(self.columns)[place]
        for start in range(0, len(self), BATCH_ROWS):
            ids = self.ids[start : start + BATCH_ROWS, own]
            found = np.flatnonzero((chosen[ids] & (ids != NO_ID)).any(1))
            if len(found):
                return start + int(found[0]) + 1
        raise AssertionError("every id is in a row")

    def row_names(self) -> tuple[str, ...]:
        """The fields that seem to name rows: with nearly as many values as there are rows."""
        least = max(_NAMES_ROWS * len(self), 1000)
        return tuple(name for name, counts in zip(self.field_names, self.counts, strict=True) if len(counts) > least)

    def uncounted(self) -> dict[str, int]:
        """The ids that stand for all values that were not counted, of the fields that have such an id."""
        return {
            name: len(counts) - 1 for name, counts in zip(self.field_names, self.counts, strict=True) if counts[-1] == 0
        }

    def without_rows(self) -> EncodedDataset:
        """The same fields and vocabulary, without the rows."""
        ids, labels = np.empty((0, sum(self.columns)), np.int32), np.empty(0, np.uint8)
        return replace(self, ids=ids, labels=labels, time=None, split_column=None, truth=None, weights=None)

    def rows(self, rows: IntArray) -> Samples:
        """The given rows: memory-mapped from a copy in the cache, or in memory for data built in memory.

        Raises:
            AutoDPQError: The cache cannot be written.
        """
        selected = hashlib.sha256(f"{self.fingerprint}:{len(self)}:".encode())
        selected.update(rows.astype("<i8").tobytes())

        def fill(ids: npt.NDArray[np.int32]) -> None:
            for start in range(0, len(rows), BATCH_ROWS):
                part = slice(start, start + BATCH_ROWS)
                ids[part] = self.ids[rows[part]]

        ids = self._filled("parts", selected.hexdigest(), len(rows), fill)
        return Samples(ids, self.labels[rows], None if self.weights is None else self.weights[rows])

    def _filled(
        self, kind: str, digest: str, n_rows: int, fill: Callable[[npt.NDArray[np.int32]], None]
    ) -> npt.NDArray[np.int32]:
        """Ids derived from these, int32 [n_rows, columns]: mapped from this data set's folder, or in memory."""
        shape = (n_rows, sum(self.columns))
        if self.folder is not None:
            return _mapped(self.folder / kind / digest[:24], shape, fill)
        ids = np.empty(shape, np.int32)
        fill(ids)
        return ids

    def recounted(self, rows: IntArray) -> EncodedDataset:
        """The same data with frequencies counted over ``rows`` alone (what one deploys).

        Values that do not occur among ``rows`` fall to one fallback id per field, the field's last, with count 0.

        Args:
            rows: Row indices, none of them twice.
        """
        all_counts, all_ranks, from_old = [], [], []
        slices = column_slices(self.columns)
        for place, old in enumerate(self.counts):
            counts = np.zeros(len(old), np.int64)
            for column in range(slices[place].start, slices[place].stop):
                ids = self.ids[rows, column]
                counts += np.bincount(ids[ids != NO_ID], minlength=len(old))
            order = np.argsort(-counts, kind="stable")
            seen = int((counts > 0).sum())
            rank = np.full(len(old), seen, np.int32)
            rank[order[:seen]] = np.arange(seen, dtype=np.int32)
            from_old.append(rank)
            kept = counts[order[:seen]].astype(np.int64)
            all_counts.append(kept if seen == len(old) else np.append(kept, 0))
            all_ranks.append(rank if self.ranks is None else rank[self.ranks[place]])
        # Which rows were counted is a setting of the encoding: another selection must not share the fingerprint.
        counted = hashlib.sha256(np.sort(rows).astype("<i8").tobytes()).hexdigest()
        fingerprint = hashlib.sha256(f"{self.fingerprint}:{counted}".encode()).hexdigest()

        def exchange(ids: npt.NDArray[np.int32]) -> None:
            for start in range(0, len(self), BATCH_ROWS):
                part = slice(start, start + BATCH_ROWS)
                for own, rank in zip(slices, from_old, strict=True):
                    old_ids = self.ids[part, own]
                    ids[part, own] = np.where(old_ids == NO_ID, NO_ID, rank[old_ids])

        ids = self._filled("recounted", fingerprint, len(self), exchange)
        return replace(self, ids=ids, counts=tuple(all_counts), fingerprint=fingerprint, ranks=tuple(all_ranks))

    def vocabulary(self) -> pl.DataFrame:
        """What every id stands for: columns field, id and value (the empty value is the missing one).

        Where a field is binned there is a column ``at_least`` too: the least number of a bin, null for other values.
        After :meth:`recounted`, all values that were not counted share the field's fallback id.

        Raises:
            AutoDPQError: The data set was built in memory, or its cache folder is gone.
        """
        if self.folder is None:
            raise AutoDPQError(f"data set {self.name!r} was built in memory and has no vocabulary")
        path = self.folder / "vocabulary.parquet"
        if read_inventory(self.folder, [path.name]) is None:  # since the data set was opened, hours may have passed
            raise AutoDPQError(f"{path}: the vocabulary is gone or damaged; load the data set again")
        frame = pl.read_parquet(path)
        if self.ranks is None:
            return frame
        # The file lists the fields in order and each field's ids in order, so the ranks line up with its rows.
        return frame.with_columns(pl.Series("id", np.concatenate(self.ranks)))
