"""Columns that are no fields: labels, times, splits and weights, checked value by value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.values import as_text
from autodpq.errors import AutoDPQError

_FORMS = (str.lower, str.upper, str.capitalize)
_NO, _YES = ("false", "no", "f", "n"), ("true", "yes", "t", "y")
_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1} | {
    form(word): value for value, words in enumerate((_NO, _YES)) for word in words for form in _FORMS
}
_INTEGER = "an integer is expected"
_WEIGHT = "a weight must be a number from 0 to 1e30"
_MOST_WEIGHT = 1e30  # so that sums of weights and of their squares are finite
_TIME = "a number, or a date or time such as 2024-05-31 or 2024-05-31 12:30:00+02:00, is expected"
NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
"""How a number is written."""
_ZONED = r"^(.*:[0-9]{2}(?:\.[0-9]+)?) ?(?:Z|UTC|GMT|([+-])([0-9]{2})(?::?([0-9]{2}))?)$"
"""A time and its zone: a day alone ends as an offset does."""

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
        if isinstance(column.dtype, pl.List | pl.Array):
            return as_text(
                column, self.where, self.row, f"are no categories; exclude it, or --multi {column.name} reads bags"
            )
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

    def time(self, column: pl.Series) -> npt.NDArray[np.int64 | np.float64]:
        """[rows]: numbers as they are (int64, float64 where one is not whole), dates and times as microseconds in UTC.

        Raises:
            AutoDPQError: A value is missing, or is neither a number nor a date or time.
        """
        if column.dtype == pl.Duration:
            column = column.to_physical()
        text = self._text(column, _TIME)
        if column.dtype == pl.Date:
            times = column.cast(pl.Datetime("us"))
        elif column.dtype == pl.Datetime:
            times = column.dt.cast_time_unit("us")
        else:
            if not self._time_format:  # the first batch decides, lest two kinds of number be mixed
                first = text.filter(text != "").head(1)
                is_number = len(first) > 0 and re.fullmatch(NUMBER, first[0].strip()) is not None
                self._time_format = "number" if is_number else "date"
            times = _numbers(text) if self._time_format == "number" else dates(text)
        self._refuse(text, times.is_null(), _TIME)
        return times.to_numpy() if times.dtype.is_float() else times.cast(pl.Int64).to_numpy()

    def weights(self, column: pl.Series) -> npt.NDArray[np.float64]:
        """float64 [rows], how much each row counts.

        Raises:
            AutoDPQError: A value is missing, or is no number from 0 to 1e30.
        """
        text = self._text(column, _WEIGHT)
        numbers = text.str.strip_chars().cast(pl.Float64, strict=False).fill_null(-1.0)
        self._refuse(text, ~numbers.is_between(0.0, _MOST_WEIGHT), _WEIGHT)  # a NaN is between nothing
        return numbers.to_numpy()

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


def _numbers(text: pl.Series) -> pl.Series:
    """Int64, or Float64 where a number is not whole; null where a value is none."""
    stripped = text.str.strip_chars()
    whole = stripped.str.replace(r"\.0*$", "").cast(pl.Int64, strict=False)
    if not whole.has_nulls():
        return whole
    numbers = stripped.cast(pl.Float64, strict=False)
    return pl.select(pl.when(numbers.abs() < 2.0**63).then(numbers)).to_series()  # a NaN is below nothing


def dates(text: pl.Series) -> pl.Series:
    """Dates and times, the year first, as Datetime in microseconds; null where a value is none.

    Args:
        text: String [values]. A time may end with its zone, Z, UTC, +02:00, +0200 or +02; else it is in UTC.
    """
    normal = text.str.strip_chars().str.replace(r"^([^T ]+)T", "${1} ")
    normal = normal.str.replace(r"^([0-9]{4})[/.]([0-9]{1,2})[/.]([0-9]{1,2})", "${1}-${2}-${3}")
    zone = normal.str.extract_groups(_ZONED).struct.unnest()
    zone.columns = ["time", "sign", "hours", "minutes"]
    normal = zone["time"].fill_null(normal)
    hours, minutes = (zone[part].fill_null("0").cast(pl.Int64) for part in ("hours", "minutes"))
    east = (hours * 60 + minutes) * pl.Series(zone["sign"] == "-").fill_null(False).replace_strict({True: -1, False: 1})
    full = normal.str.strptime(pl.Datetime("us"), "%Y-%m-%d %H:%M:%S%.f", strict=False)
    minute = normal.str.strptime(pl.Datetime("us"), "%Y-%m-%d %H:%M", strict=False)
    day = normal.str.strptime(pl.Date, "%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    return full.fill_null(minute).fill_null(day) - (east * 60_000_000).cast(pl.Duration("us"))
