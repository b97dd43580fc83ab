"""Parquet and Arrow files, read in batches, with errors that name the file, the row and the column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from autodpq.data.source import BATCH_ROWS
from autodpq.errors import AutoDPQError

ARROW_SUFFIXES = (".arrow", ".arrows", ".feather", ".ipc")

_DAMAGED = (pa.ArrowException, OSError, ValueError)
"""What reading may raise where bytes are not as they should be; a name of no UTF-8 is a ValueError."""


def file_schema(path: Path) -> pa.Schema:
    """The columns of a parquet or Arrow file and their types.

    Raises:
        AutoDPQError: It is no such file, or is cut short.
    """
    if _is_arrow(path):
        return _arrow_schema(path)
    return _parquet(path).schema_arrow


def file_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of a parquet or Arrow file in batches, of the types that they have.

    Raises:
        AutoDPQError: The file is damaged, or a text is not UTF-8.
    """
    row = 0
    kind = "Arrow" if _is_arrow(path) else "parquet"
    try:
        for batch in _arrow_batches(path, columns) if kind == "Arrow" else _parquet_batches(path, columns):
            _check_values(batch, path, row)
            yield batch
            row += batch.num_rows
    except _DAMAGED:
        raise AutoDPQError(f"{path}: the {kind} file is damaged; write it again") from None


def to_series(name: str, column: pa.Array | pa.ChunkedArray, path: Path) -> pl.Series:
    """A column of a file as polars knows it.

    Raises:
        AutoDPQError: It is of a type that polars does not know.
    """
    try:
        if not pa.types.is_decimal256(column.type):  # at which polars panics
            series = pl.from_arrow(column)
            assert isinstance(series, pl.Series)
            return series.alias(name)
    except pl.exceptions.PolarsError:
        pass
    raise AutoDPQError(f"{path}, column {name!r}: values of type {column.type} cannot be used; convert or exclude it")


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """A type for the values of both; None unless equal values of both count as the same text."""
    one, other = (kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (one, other))
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if _is_text(one) and _is_text(other):
        return pa.large_string()
    if any(is_kind(one) and is_kind(other) for is_kind in (pa.types.is_integer, pa.types.is_floating)):
        return one if one.bit_width > other.bit_width else other
    return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_arrow(path: Path) -> bool:
    return path.suffix.lower() in ARROW_SUFFIXES


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise AutoDPQError(f"{path}: cannot be read: {error.strerror or error}") from None
        raise AutoDPQError(f"{path}: this is no parquet file, or one cut short; write it again") from None


def _parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    yield from _parquet(path).iter_batches(BATCH_ROWS, columns=list(columns))


def _arrow(path: Path, **options: object) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The two forms that Arrow's files have: with an index at the end (Feather's version 2), or a stream."""
    source = pa.memory_map(str(path))
    chosen = pa.ipc.IpcReadOptions(**options)
    try:
        file = pa.ipc.open_file(source, options=chosen)
        return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
    except pa.ArrowInvalid:
        source.seek(0)
        stream = pa.ipc.open_stream(source, options=chosen)
        return stream.schema, iter(stream)


def _arrow_schema(path: Path) -> pa.Schema:
    try:
        schema, _ = _arrow(path)
        # Decoded when they are asked for, and perhaps no UTF-8.
        _ = schema.names, [getattr(column.type, "tz", None) for column in schema]
        return schema
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise AutoDPQError(f"{path}: cannot be read: {error.strerror or error}") from None
        raise AutoDPQError(
            f"{path}: this is no Arrow file (Feather of version 2 is one), or one cut short; write it again"
        ) from None


def _arrow_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    names = _arrow_schema(path).names
    _, batches = _arrow(path, included_fields=[names.index(name) for name in columns])
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


def _check_values(batch: pa.RecordBatch, path: Path, row: int) -> None:
    """Refuses values that others would take for sound: Arrow reads bytes as text without a look at them."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if _is_sound(column):
            continue
        first = None
        if not pa.types.is_dictionary(column.type) and not column.type.num_fields:  # parts of such keep all values
            first = next((n for n in range(len(column)) if not _is_sound(column.slice(n, 1))), None)
        at = "" if first is None else f", row {row + first + 1}"
        raise AutoDPQError(f"{path}{at}, column {name!r}: a damaged value, or not UTF-8 text; write the file again")


def _is_sound(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
