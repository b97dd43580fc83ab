"""A value as a category: its text, the same one however it came.

A CSV gives texts, a frame or a parquet file gives types, and each program writes a value its own way: ``True`` or
``true``, ``7`` or ``7.0``, ``2024-01-05`` or ``2024-01-05T00:00:00``. :func:`canonical_text` says which texts are one
value, for all of them. It goes by the text alone, so that it holds for a column of any type, for one value as for
many, and in serving without a look at what else the column holds. What may be a name stays as it is: 007, 1e5, 0x1f,
1.10, NA.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from autodpq.errors import AutoDPQError

if TYPE_CHECKING:
    import pyarrow as pa

_FIRST_DAY, _LAST_DAY = (day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max))
_UNITS_A_DAY = {"ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}

_WORDS = {
    **dict.fromkeys(("True", "TRUE"), "true"),
    **dict.fromkeys(("False", "FALSE"), "false"),
    **dict.fromkeys(("NaN", "nan", "NaT", "<NA>"), ""),
}
"""What programs write for a truth value or a missing one, and for nothing else; NA, None and null may be names."""
_WHOLE = r"(-?(?:0|[1-9][0-9]*)|[0-9]{2}:[0-9]{2}:[0-9]{2})\.0+"
_TIME = (
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.([0-9]+))?"
    r" ?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_SEVERAL = rf"^(?:{'|'.join(_WORDS)}|{_WHOLE}|{_TIME})$"
"""The texts whose canonical one may be another, in what the regular expressions of Python and of Arrow share."""
_FEW = 100


def as_text(
    column: pl.Series, where: str, row: int | None = None, unfit: str = "are no categories; exclude it"
) -> pl.Series:
    """A column as strings, a missing value (null, NaN) as the empty one; their canonical texts are not sought yet.

    Decimal numbers are categories like any other: each distinct value is one.

    Args:
        column: The column, or a part of its rows.
        where: What error messages call the source.
        row: Rows of the source before these; None where that is not known.
        unfit: What error messages say of values of a type that cannot be used.

    Raises:
        AutoDPQError: The column holds no single values, or a date that cannot be written.
    """
    # Nothing here may need the threads of polars, nor in what serving calls beside: in a forked process they are gone,
    # and waiting for them never ends. Expressions need them (fill_null, str.replace), casts and comparisons do not.
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        raise _unfit(column, where, unfit)
    if column.dtype in (pl.Date, pl.Datetime):
        _check_dates(column, where, row)
    try:
        text = column.cast(pl.String)
    except pl.exceptions.PolarsError:
        raise _unfit(column, where, unfit) from None
    if column.dtype.is_float():
        text = text.zip_with(text != "NaN", pl.Series([""]))
    return text.zip_with(text.is_not_null(), pl.Series([""])) if text.has_nulls() else text


def canonical_text(text: str) -> str:
    """The one text of a value that programs write in several ways; any other text as it is.

    Truth values are ``true`` and ``false``. A whole number has no decimals: ``7.0`` is ``7``, whether it was a number
    or a version; zeros in front stay, and so do the digits of numbers that are not whole. A time is in UTC, to the
    second or to its last decimal that is not zero; at midnight it is its date. ``NaN``, ``nan``, ``NaT`` and ``<NA>``
    are missing.
    """
    if text in _WORDS:
        return _WORDS[text]
    if whole := re.fullmatch(_WHOLE, text):
        return "0" if whole[1] == "-0" else whole[1]
    if time := re.fullmatch(_TIME, text):
        try:
            moment = datetime.fromisoformat(f"{time[1]} {time[2]}{time[4] or ''}")
            moment = moment if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):  # no such day or hour, or one outside the years 1 to 9999
            return text
        fraction = (time[3] or "").rstrip("0")
        shown = moment.strftime("%H:%M:%S") + (f".{fraction}" if fraction else "")
        return moment.date().isoformat() + ("" if shown == "00:00:00" else f" {shown}")
    return text


def canonical_texts(texts: pl.Series) -> pl.Series:
    """:func:`canonical_text` of each; the same column where it changes none.

    Args:
        texts: String [values], without nulls.

    Returns:
        String [values].
    """
    import pyarrow.compute as pc  # takes a tenth of a second, which serving can mostly do without

    # Arrow finds the few of many in a fraction of the time, but reads the expression anew at every call.
    is_few = len(texts) <= _FEW
    places = np.arange(len(texts)) if is_few else np.flatnonzero(pc.match_substring_regex(texts.to_arrow(), _SEVERAL))
    some = texts.gather(places)
    changed = pl.Series([canonical_text(text) for text in some], dtype=pl.String)
    if not len(places) or (changed == some).all():
        return texts
    return texts.clone().scatter(places, changed)


def is_one_of(column: pl.Series, texts: Sequence[str], where: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which values of a column are among some, whatever its type.

    Args:
        column: The column, or a part of its rows.
        texts: Canonical texts.
        where: What error messages call the source.

    Returns:
        bool [rows].

    Raises:
        AutoDPQError: The column holds no single values, or a date that cannot be written.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    values = canonical_texts(as_text(column, where)).to_arrow()
    return np.asarray(pc.is_in(values, value_set=pa.array(texts, values.type)))


def distinct(texts: pl.Series) -> tuple[pl.Series, np.ndarray[tuple[int], np.dtype[np.int32]]]:
    """The distinct ones of texts in the order in which they come.

    Args:
        texts: String [rows], without nulls.

    Returns:
        String [values]; int32 [rows], the place of each among them.
    """
    import pyarrow.compute as pc

    encoded: pa.DictionaryArray = pc.dictionary_encode(texts.to_arrow())
    return pl.Series(pl.from_arrow(encoded.dictionary), dtype=pl.String), np.asarray(encoded.indices)


def _unfit(column: pl.Series, where: str, said: str) -> AutoDPQError:
    return AutoDPQError(f"{where}, column {column.name!r}: values of type {column.dtype} {said}")


def _check_dates(column: pl.Series, where: str, row: int | None) -> None:
    """Refuses dates before the year 1 or after 9999: polars panics where it is to write those far out."""
    days = column.to_physical().cast(pl.Int64).zip_with(column.is_not_null(), pl.Series([0])).to_numpy()
    if isinstance(column.dtype, pl.Datetime):
        days = days // _UNITS_A_DAY[column.dtype.time_unit]
    wrong = np.flatnonzero((days < _FIRST_DAY) | (days > _LAST_DAY))
    if len(wrong):
        at = "" if row is None else f", row {row + wrong[0] + 1}"
        raise AutoDPQError(f"{where}{at}, column {column.name!r}: a date outside the years 1 to 9999; correct it")
