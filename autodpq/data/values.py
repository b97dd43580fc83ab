"""A value as a category: its text."""

from __future__ import annotations

from datetime import date

import polars as pl

from autodpq.errors import AutoDPQError

_FIRST_DAY, _LAST_DAY = (day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max))
_UNITS_A_DAY = {"ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}


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
