"""Columns that are no fields: labels, times and splits, checked value by value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.errors import AutoDPQError

_FIRST_DAY, _LAST_DAY = (day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max))
_UNITS_A_DAY = {"ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}
_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "False": 0, "True": 1}
_INTEGER = "an integer is expected"
_TIME = "an integer, or a date or time such as 2024-05-31 or 2024-05-31 12:30:00, is expected"
_PARTS = {"0": 0, "1": 1, "2": 2, "train": 0, "valid": 1, "validation": 1, "val": 1, "test": 2}


def as_text(
    column: pl.Series, where: str, row: int | None = None, unfit: str = "are no categories; exclude it"
) -> pl.Series:
    """A column as strings, a missing value (null, NaN) as the empty one.

    Decimal numbers are categories like any other: each distinct value is one.

    Args:
        column: The column, or a part of its rows.
        where: What error messages call the source.
        row: Rows of the source before these; None where that is not known.
        unfit: What error messages say of values of a type that cannot be used.

    Raises:
        AutoDPQError: The column holds no single values, or a date that cannot be written.
    """
    if column.dtype == pl.String:
        return column.fill_null("")
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        raise _unfit(column, where, unfit)
    if column.dtype.is_float():
        column = column.fill_nan(None)
    if column.dtype in (pl.Date, pl.Datetime):
        _check_dates(column, where, row)
    try:
        return column.cast(pl.String).fill_null("")
    except pl.exceptions.PolarsError:
        raise _unfit(column, where, unfit) from None


def _unfit(column: pl.Series, where: str, said: str) -> AutoDPQError:
    return AutoDPQError(f"{where}, column {column.name!r}: values of type {column.dtype} {said}")


def _check_dates(column: pl.Series, where: str, row: int | None) -> None:
    """Refuses dates before the year 1 or after 9999: polars panics where it is to write those far out."""
    days = column.to_physical().cast(pl.Int64)
    if isinstance(column.dtype, pl.Datetime):
        days = days // _UNITS_A_DAY[column.dtype.time_unit]
    wrong = ~days.is_between(_FIRST_DAY, _LAST_DAY).fill_null(True)
    index = wrong.arg_max()
    if index is not None and wrong[index]:
        at = "" if row is None else f", row {row + index + 1}"
        raise AutoDPQError(f"{where}{at}, column {column.name!r}: a date outside the years 1 to 9999; correct it")


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
