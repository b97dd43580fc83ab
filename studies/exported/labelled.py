"""Labelled rows of files, batch after batch, for what goes on with exported models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.readers.columns import ColumnReader
from autodpq.data.readers.files import OwnFiles
from autodpq.data.values import canonical_texts, distinct
from autodpq.errors import AutoDPQError, nearest


def check_named(names: Sequence[str], asked: Iterable[tuple[str, str | None]], where: str) -> None:
    """Refuses a column that is not there.

    Args:
        names: The columns that are.
        asked: Options, each with the column that it names; None for none.
        where: What error messages call the source.

    Raises:
        AutoDPQError: Names the option, and the nearest column.
    """
    for option, column in asked:
        if column is not None and column not in names:
            raise AutoDPQError(f"{where}: no column {column!r}, which --{option} names{nearest(column, names)}")


def labelled_batches(
    files: OwnFiles, columns: Sequence[str], label: str, reader: ColumnReader
) -> Iterator[tuple[str, pl.DataFrame, npt.NDArray[np.uint8]]]:
    """Of each batch its file, the columns and the labels, uint8 [rows].

    Args:
        files: The files.
        columns: What is read, the label among it.
        label: The column of labels.
        reader: Reads columns; knows in which row a batch begins.

    Raises:
        AutoDPQError: A file cannot be read, a label is none, or there are no rows.
    """
    if not files.is_text:
        files.types(columns)  # which refuses files that do not fit together
    n_rows = 0
    for path, frame in files.frames(columns):
        reader.begin(str(path))
        yield str(path), frame, reader.labels(frame[label])
        reader.advance(len(frame))
        n_rows += len(frame)
    if not n_rows:
        raise AutoDPQError(f"{files.where}: there are no rows in it")


def number_texts(texts: pl.Series, numbers: dict[str, int]) -> npt.NDArray[np.int64]:
    """The number of each text's value, int64 [texts]; a new value gets the next one."""
    values, places = distinct(canonical_texts(texts))
    own = [numbers.setdefault(value, len(numbers)) for value in values]
    return np.array(own, np.int64)[places]
