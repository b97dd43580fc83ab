"""Columns that are no fields: labels, times and splits, checked value by value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.values import as_text
from autodpq.errors import AutoDPQError

_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "False": 0, "True": 1}
_INTEGER = "an integer is expected"
_TIME = "an integer, or a date or time such as 2024-05-31 or 2024-05-31 12:30:00, is expected"
SPLIT_PARTS = {"train": ("train",), "valid": ("valid", "validation", "val"), "test": ("test",)}
"""The parts of a split, by their numbers, and how each may be spelt."""

_PARTS = {text: number for number, spellings in enumerate(SPLIT_PARTS.values()) for text in (str(number), *spellings)}


@dataclass
class ColumnReader:
    """Reads the columns beside the fields, batch by batch, and knows the row it has come to.

    Attributes:
        where: What error messages call the source.
        row: Rows read before the batch at hand.
    """

    where: str
    row: int = 0
    _time_format: str = field(default="", init=False)

    def advance(self, n_rows: int) -> None:
        """Counts a batch as read."""
        self.row += n_rows

    def begin(self, where: str) -> None:
        """Says which file the next batch is of; in another than before, rows are counted anew."""
        if where != self.where:
            self.where, self.row = where, 0

    def text(self, column: pl.Series) -> pl.Series:
        """A field's values as :func:`as_text` makes them.

        Raises:
            AutoDPQError: The column holds no single values, or a date that cannot be written.
        """
        return as_text(column, self.where, self.row)

    def labels(self, column: pl.Series) -> npt.NDArray[np.uint8]:
        """uint8 [rows], 0 or 1.

        Raises:
            AutoDPQError: A value is missing or is neither 0 nor 1.
        """
        return self._mapped(column, _LABELS, "a label must be 0 or 1").cast(pl.UInt8).to_numpy()

    def split(self, column: pl.Series) -> npt.NDArray[np.int8]:
        """int8 [rows], 0 train, 1 validation, 2 test.

        Raises:
            AutoDPQError: A value names no part.
        """
        return self._mapped(column, _PARTS, "a split must be train, valid or test (or 0, 1, 2)").to_numpy()

    def integers(self, column: pl.Series) -> pl.Series:
        """Int64 [rows], null where the value is missing.

        Raises:
            AutoDPQError: A value is no integer.
        """
        text = self._text(column, _INTEGER)
        numbers = text.cast(pl.Int64, strict=False)
        self._refuse(text, numbers.is_null() & (text != ""), _INTEGER)
        return numbers

    def time(self, column: pl.Series) -> npt.NDArray[np.int64]:
        """int64 [rows]: integers as they are, dates and times as microseconds.

        Raises:
            AutoDPQError: A value is missing, or is neither an integer nor a date or time.
        """
        text = self._text(column, _TIME)
        if column.dtype == pl.Date:
            times = column.cast(pl.Datetime("us"))
        elif column.dtype == pl.Datetime:
            times = column.dt.cast_time_unit("us")
        else:
            if not self._time_format:  # the first batch decides, lest two kinds of number be mixed
                first = text.filter(text != "").head(1)
                is_integer = len(first) > 0 and re.fullmatch(r"[+-]?\d+", first[0]) is not None
                self._time_format = "integer" if is_integer else "date"
            if self._time_format == "integer":
                times = text.cast(pl.Int64, strict=False)
            else:
                times = _dates(text)
        self._refuse(text, times.is_null(), _TIME)
        return times.cast(pl.Int64).to_numpy()

    def _mapped(self, column: pl.Series, mapping: dict[str, int], expected: str) -> pl.Series:
        text = self._text(column, expected)
        mapped = text.replace_strict(mapping, default=None, return_dtype=pl.Int8)
        self._refuse(text, mapped.is_null(), expected)
        return mapped

    def _text(self, column: pl.Series, expected: str) -> pl.Series:
        return as_text(column, self.where, self.row, f"cannot be read; {expected}")

    def _refuse(self, text: pl.Series, wrong: pl.Series, expected: str) -> None:
        index = wrong.arg_max()
        if index is None or not wrong[index]:
            return
        value = f"{text[index][:40]!r}" if text[index] else "the value is missing"
        raise AutoDPQError(f"{self.where}, row {self.row + index + 1}, column {text.name!r}: {value}; {expected}")


def _dates(text: pl.Series) -> pl.Series:
    """Dates and times in ISO form, with or without a time zone; null where a value is neither."""
    normal = text.str.strip_chars().str.replace("T", " ", literal=True).str.replace(r"(Z|\+00:?00)$", "")
    full = normal.str.strptime(pl.Datetime("us"), "%Y-%m-%d %H:%M:%S%.f", strict=False)
    minute = normal.str.strptime(pl.Datetime("us"), "%Y-%m-%d %H:%M", strict=False)
    day = normal.str.strptime(pl.Date, "%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    return full.fill_null(minute).fill_null(day)
