"""The vocabulary of a packed network: what its ids stand for, looked up (no torch)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.bags import as_columns, split_bags
from autodpq.errors import AutoDPQError, nearest, one_line
from autodpq.packed.manifest import Manifest, SideFile
from autodpq.packed.spec import AnySpec
from autodpq.packed.vocabulary.side_file import Values, read_side_file
from autodpq.packed.vocabulary.words import Words
from autodpq.plan import NO_ID, Bag, column_slices

if TYPE_CHECKING:
    import pandas as pd

UNSEEN, _BEHIND = -1, -2
_MOSTLY = 0.5
"""The share of unseen rows above which a column is likely to be another one, or written otherwise."""
_UNFIT = (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError)
"""What a column raises that polars cannot take."""


_FEW, _MOST_KEPT = 64, 1 << 16  # rows of a request, and texts of a field


class _Kept:
    """The ids of one field's texts, for requests of few rows: of all of them, or of those of late where they are many.

    To find one value takes polars as long as to find a thousand; and most values that are asked for have been before.

    Args:
        known: The field's values.
    """

    def __init__(self, known: Values) -> None:
        self._known = known

    @cached_property
    def _ids(self) -> dict[str, int]:
        known = self._known
        return known.texts() if isinstance(known, Words) and len(known) <= _MOST_KEPT else {}

    def look_up(self, column: pl.Series, where: str) -> npt.NDArray[np.int32]:
        """As :meth:`Words.look_up`."""
        if len(column) > _FEW or not (column.dtype == pl.String or column.dtype.is_integer()):
            return self._known.look_up(column, where)
        ids = self._ids
        texts = ["" if value is None else str(value) for value in column.to_list()]
        found = [ids.get(text) for text in texts]
        if None in found:
            looked_up = self._known.look_up(column, where)
            if len(ids) > 2 * _MOST_KEPT:
                ids.clear()
            ids.update(zip(texts, looked_up.tolist(), strict=True))
            return looked_up
        return np.array(found, np.int32)


class Vocabulary:
    """Raw values to ids.

    Args:
        fields: Per field, in the order of the ids' columns, its values.
        bags: The fields of several values a row.
    """

    def __init__(self, fields: Mapping[str, Values], bags: Mapping[str, Bag] | None = None) -> None:
        self._fields = fields
        self._kept = {name: _Kept(known) for name, known in fields.items()}
        self._bags = bags or {}
        self._warned: set[str] = set()

    @classmethod
    def read(cls, path: Path, side: SideFile, tables: Sequence[AnySpec]) -> Vocabulary:
        """Reads a side file.

        Args:
            path: The side file.
            side: What the manifest says of it.
            tables: The packed tables, one per field.

        Raises:
            AutoDPQError: The file is missing, cut off, altered, or of another model.
        """
        return cls(read_side_file(path, side, tables))

    @classmethod
    def beside(cls, path: Path, manifest: Manifest) -> Vocabulary:
        """Reads the side file of a packed file.

        Raises:
            AutoDPQError: It has none, or the side file is missing, cut off, altered, or of another model.
        """
        if manifest.vocabulary is None:
            raise AutoDPQError(f"{path}: it was exported without a vocabulary; give ids, not values")
        side = manifest.vocabulary
        return cls(read_side_file(path.with_name(side.name), side, manifest.tables), manifest.bags)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields, in the order of the ids' columns."""
        return tuple(self._fields)

    def values(self, field: str) -> Values:
        """What is known of a field's values."""
        return self._fields[field]

    def check_columns(self, columns: Iterable[str], where: str) -> None:
        """Refuses a table that lacks a field.

        Args:
            columns: The names of its columns.
            where: What error messages call it.

        Raises:
            AutoDPQError: A field is missing; names the nearest column.
        """
        names = list(columns)
        for name in self._fields:
            if name not in names:
                raise AutoDPQError(f"{where}: column {name!r}, a field of the model, is missing{nearest(name, names)}")

    def encode(self, frame: pl.DataFrame, where: str) -> npt.NDArray[np.int32]:
        """Raw values to ids; values never seen get their field's fallback id. Else as :meth:`look_up`.

        Warns of a column that is mostly unseen, once for each, in the name of who called the caller.
        """
        return self._encoded(frame, where)[0]

    def encode_bags(self, frame: pl.DataFrame, where: str) -> tuple[npt.NDArray[np.int32], tuple[int, ...]]:
        """As :meth:`encode`, and how many columns each field has: more than in training where a bag is longer."""
        return self._encoded(frame, where)

    def _encoded(self, frame: pl.DataFrame, where: str) -> tuple[npt.NDArray[np.int32], tuple[int, ...]]:
        ids, columns = self.look_up_bags(frame, where)
        for name, text in mostly_unseen(self.unseen(ids, columns), len(ids)):
            if name not in self._warned:
                self._warned.add(name)
                warnings.warn(f"{where}, {text}", stacklevel=4)
        return self.with_fallbacks(ids, columns), columns

    def unseen(self, ids: npt.NDArray[np.int32], columns: Sequence[int] | None = None) -> dict[str, int]:
        """Per field, in how many rows of what :meth:`look_up_bags` gives no value was ever seen."""
        own = column_slices(columns or [1] * len(self._fields))
        return {name: int((ids[:, part] < 0).all(1).sum()) for name, part in zip(self._fields, own, strict=True)}

    def with_fallbacks(self, ids: npt.NDArray[np.int32], columns: Sequence[int] | None = None) -> npt.NDArray[np.int32]:
        """What :meth:`look_up` gives, with each field's fallback id for -1, and as models take bags."""
        fallbacks = np.array([words.fallback for words in self._fields.values()], np.int32)
        if columns is None or not self._bags:
            return np.where(ids < 0, fallbacks, ids)
        known = np.where(ids == UNSEEN, np.repeat(fallbacks, columns), ids)
        return np.where(ids == _BEHIND, np.int32(NO_ID), known)

    def look_up_bags(self, frame: pl.DataFrame, where: str) -> tuple[npt.NDArray[np.int32], tuple[int, ...]]:
        """As :meth:`look_up`, with -2 behind the values of a short bag, and how many columns of ids each field has."""
        if not self._bags:
            return self.look_up(frame, where), (1,) * len(self._fields)
        self.check_columns(frame.columns, where)
        parts = []
        for name, known in self._kept.items():
            if name not in self._bags:
                parts.append(known.look_up(frame[name], where)[:, None])
                continue
            bag = self._bags[name]
            values, lengths = split_bags(frame[name], bag.separator, bag.missing, where)
            ids = known.look_up(values, where)
            width = max(bag.columns, int(lengths.max(initial=1)))
            columns = as_columns(ids, lengths, width)
            columns[np.arange(width) >= lengths[:, None]] = _BEHIND
            parts.append(columns)
        return np.concatenate(parts, 1), tuple(part.shape[1] for part in parts)

    def look_up(self, frame: pl.DataFrame, where: str) -> npt.NDArray[np.int32]:
        """Raw values to ids; -1 for values never seen.

        Args:
            frame: A column per field; others are left alone. Values count whatever their type: 7 of a parquet file,
                7.0 where another value is missing and the text 7 of a CSV are one, as
                :func:`autodpq.data.values.canonical_text` says. Those of a binned field count as numbers.
            where: What error messages call the frame.

        Returns:
            int32 [rows, fields]; where a field has bags, as :meth:`look_up_bags`.

        Raises:
            AutoDPQError: A column is missing, or holds no single values.
        """
        if self._bags:
            return self.look_up_bags(frame, where)[0]
        self.check_columns(frame.columns, where)
        ids = np.empty((len(frame), len(self._fields)), np.int32)
        for column, (name, known) in enumerate(self._kept.items()):
            ids[:, column] = known.look_up(frame[name], where)
        return ids


def mostly_unseen(unseen: Mapping[str, int], n_rows: int) -> Iterator[tuple[str, str]]:
    """Says of which columns most values were never seen in training.

    Args:
        unseen: Per field, in how many rows its value was never seen.
        n_rows: Rows in all.

    Yields:
        The field, and a sentence for people.
    """
    for name, count in unseen.items():
        if count > _MOSTLY * n_rows:
            said = (
                f"{count / n_rows:.1%} of the values were never seen in training; are they written as they were there?"
            )
            yield name, f"column {name!r}: {said}"


def frame_of(values: pl.DataFrame | pd.DataFrame | Mapping[str, Any], names: Sequence[str]) -> pl.DataFrame:
    """Some columns of a table, or of a mapping with a sequence per column.

    Raises:
        AutoDPQError: The columns are of different lengths, or hold what no column can.
    """
    if isinstance(values, pl.DataFrame):
        return values
    try:
        return pl.DataFrame({name: _sequence(values[name]) for name in names if name in values})
    except _UNFIT as error:
        for name in names:
            try:
                pl.DataFrame({name: _sequence(values[name])} if name in values else {})
            except _UNFIT as own:
                said = f"values, column {name!r}: they make no column; give values of one type: {one_line(own)}"
                raise AutoDPQError(said) from None
        raise AutoDPQError(f"values: no table can be made of them: {one_line(error)}") from None


def _sequence(values: Any) -> Any:
    """A column as polars takes it: of numpy's arrays it knows neither those of objects nor times of every unit."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "O":
        import pyarrow as pa

        return pa.array(values, from_pandas=True)
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return values.astype("datetime64[us]")
    if getattr(values, "sparse", None) is not None:  # a pandas column that keeps few of its values
        return values.sparse.to_dense()
    return values
