"""Fields of several values a row, as tags are: how a cell becomes a bag of values, and a bag a few columns of ids.

A bag holds its values as often as the cell does, each trimmed and in its canonical text, without empty and missing
ones. A cell without any has one value, the missing one. In a table of ids a bag has as many columns as the longest one
has values; behind the values of a shorter one stands :data:`autodpq.plan.NO_ID`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.values import as_text, canonical_texts
from autodpq.errors import AutoDPQError, nearest
from autodpq.plan import MOST_VALUES, NO_ID

SEPARATORS = ("|", ";", ",", "\t", " ")
"""What values are looked for between where nobody says it, in this order."""
_OFTEN = 0.01

Lengths = npt.NDArray[np.int64]


def read_multi(given: Sequence[str], fields: Sequence[str], where: str) -> dict[str, str | None]:
    """The fields of several values and what stands between them, as ``tags`` or ``tags:|`` say it.

    Args:
        given: What is asked for.
        fields: All fields.
        where: What error messages call the source.

    Returns:
        Per field its separator; None where it is to be found.

    Raises:
        AutoDPQError: There is no such field, or it is named twice.
    """
    found: dict[str, str | None] = {}
    for text in given:
        named = [name for name in fields if text == name or (text.startswith(f"{name}:") and len(text) > len(name) + 1)]
        if not named:
            raise AutoDPQError(f"{where}: no field {text!r}, which 'multi' names{nearest(text, fields)}")
        name = max(named, key=len)
        if name in found:
            raise AutoDPQError(f"{where}: field {name!r} is given twice in 'multi'")
        found[name] = text[len(name) + 1 :] or None
    return found


def find_separator(column: pl.Series, where: str) -> str:
    """What stands between the values of a column: empty for lists, else the first of :data:`SEPARATORS` that is often.

    Raises:
        AutoDPQError: None of them is in any value.
    """
    if _is_list(column):
        return ""
    values = as_text(column, where)
    present = values.filter(values != "")
    holding = {mark: int(present.str.contains(mark, literal=True).sum()) for mark in SEPARATORS}
    often = [mark for mark, count in holding.items() if count >= max(1, _OFTEN * len(present))]
    best = often[0] if often else max(SEPARATORS, key=holding.__getitem__)
    if not holding[best]:
        raise AutoDPQError(
            f"{where}, column {column.name!r}: none of its values holds one of {' '.join(SEPARATORS[:3])}, a tab or a "
            f"blank; say what stands between values, as 'multi' {column.name}:/"
        )
    return best


def split_bags(
    column: pl.Series, separator: str, missing: Sequence[str], where: str, row: int | None = None
) -> tuple[pl.Series, Lengths]:
    """The values of each cell.

    Args:
        column: Texts, values of any type that is one, or lists of such.
        separator: What stands between the values of a text.
        missing: Canonical texts that stand for no value.
        where: What error messages call the source.
        row: Rows of the source before these; None where that is not known.

    Returns:
        String [values], row by row; int64 [rows], how many each has, at least one.

    Raises:
        AutoDPQError: A cell holds what is no value, or too many.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    # Arrow splits, not polars: see as_text.
    if _is_list(column):
        lists = column.cast(pl.List(column.dtype.inner)).to_arrow()  # type: ignore[attr-defined]
        cells = pl.Series(column.name, pl.from_arrow(pc.list_flatten(lists)))
        pieces = as_text(cells, where).to_arrow()
    else:
        lists = pc.split_pattern(as_text(column, where, row).to_arrow(), separator or "\0")
        pieces = pc.list_flatten(lists)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)
    words = canonical_texts(pl.Series(pl.from_arrow(pc.utf8_trim_whitespace(pieces)), dtype=pl.String)).to_arrow()
    kept = ~np.asarray(pc.is_in(words, value_set=pa.array(["", *missing], words.type)))
    owners = np.repeat(np.arange(len(lengths)), lengths)[kept]
    counts = np.bincount(owners, minlength=len(lengths))
    if len(counts) and counts.max() > MOST_VALUES:
        at = "" if row is None else f", row {row + int(counts.argmax()) + 1}"
        raise AutoDPQError(
            f"{where}{at}, column {column.name!r}: {counts.max()} values in one; at most {MOST_VALUES} are read"
        )
    filled = np.maximum(counts, 1)
    starts, own_starts = (np.cumsum(sizes) - sizes for sizes in (filled, counts))
    order = np.full(int(filled.sum()), len(words))  # of an empty bag the empty text, which stands behind all
    order[starts[owners] + np.arange(len(owners)) - own_starts[owners]] = np.flatnonzero(kept)
    texts = pa.concat_arrays([words, pa.array([""], words.type)])
    return pl.Series(column.name, pl.from_arrow(texts.take(pa.array(order))), dtype=pl.String), filled


def as_columns(values: npt.NDArray[np.int32], lengths: npt.NDArray[np.integer], columns: int) -> npt.NDArray[np.int32]:
    """Ids of bags, row by row, as columns.

    Args:
        values: int32 [values].
        lengths: [rows], how many of them each row has, at most as many as there are columns.
        columns: How many columns there are to be.

    Returns:
        int32 [rows, columns].
    """
    table = np.full((len(lengths), columns), NO_ID, np.int32)
    table[np.arange(columns) < np.asarray(lengths)[:, None]] = values
    return table


def _is_list(column: pl.Series) -> bool:
    return isinstance(column.dtype, pl.List | pl.Array)
