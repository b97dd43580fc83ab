"""One's own data: a CSV (compressed or not) or a parquet file with a label column; every other column is a field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from autodpq.data.cache import cache_root, load_cached
from autodpq.data.columns import ColumnReader
from autodpq.data.dataset import EncodedDataset
from autodpq.data.delimited import UNPRINTABLE, Delimited, check_names, read_header
from autodpq.data.digest import file_digest, remembered_digest
from autodpq.data.options import LoadOptions
from autodpq.data.source import BATCH_ROWS, Batch, Source, Table, select_fields
from autodpq.errors import AutoDPQError
from autodpq.nearest import nearest

SUFFIXES = (".csv", ".csv.gz", ".parquet")

_DAMAGED = (pa.ArrowException, OSError, ValueError)
"""What reading parquet may raise where its bytes are not as they should be; a name of no UTF-8 is a ValueError."""


def table_name(path: Path) -> str:
    """The file's name without its suffix.

    Raises:
        AutoDPQError: The suffix is none of those that can be read, or a message could not show the path.
    """
    if UNPRINTABLE.search(str(path)):
        raise AutoDPQError(f"{str(path)!r}: the path has a control character, or one that is not UTF-8; rename it")
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.name[: -len(suffix)]
    raise AutoDPQError(f"{path}: this kind of file cannot be read; expected one of {', '.join(SUFFIXES)}")


@dataclass(frozen=True)
class _Roles:
    """Which column is what."""

    label: str
    fields: tuple[str, ...]
    split: str | None
    time: str | None

    @property
    def columns(self) -> list[str]:
        named = (self.label, *self.fields, self.split, self.time)
        return list(dict.fromkeys(name for name in named if name is not None))


def load_table(path: Path, options: LoadOptions) -> EncodedDataset:
    """Loads one's own file. Every distinct value of a field is a category, decimal numbers too.

    Raises:
        AutoDPQError: The file cannot be read, or a column is missing or holds what it must not.
    """
    name = table_name(path)
    if path.is_dir():
        raise AutoDPQError(f"{path}: this is a folder; give one file")
    cache = cache_root(options.cache_dir)
    source = Source(
        name=name,
        where=str(path),
        digest=remembered_digest([path], lambda: file_digest(path), cache, "file"),
        settings={
            "loader": "table",
            # A name decides how the content is read: the same bytes as .csv or .parquet are not the same table.
            "parquet": is_parquet(path),
            "label": options.label,
            "fields": options.fields,
            "exclude": options.exclude,
            "split_column": options.split_column,
            "time_column": options.time_column,
        },
        read=lambda: _read(path, options),
    )
    return load_cached(source, cache)


def _read(path: Path, options: LoadOptions) -> Table:
    names = column_names(path)
    roles = _roles(names, options, str(path))
    frames = _parquet_frames(path, roles.columns) if is_parquet(path) else text_frames(path, names, roles.columns)
    return Table(roles.fields, _batches(frames, roles, str(path)))


def is_parquet(path: Path) -> bool:
    """Whether a file is parquet, by its name."""
    return path.suffix.lower() == ".parquet"


def column_names(path: Path) -> list[str]:
    """The columns of a file.

    Raises:
        AutoDPQError: The file cannot be read, or names a column twice or not at all.
    """
    if not is_parquet(path):
        return read_header(path)
    names = parquet_schema(path).names
    check_names(names, str(path))
    return list(names)


def _roles(names: Sequence[str], options: LoadOptions, where: str) -> _Roles:
    special = {"label": options.label, "split_column": options.split_column, "time_column": options.time_column}
    for option, name in special.items():
        if name is not None and name not in names:
            raise AutoDPQError(f"{where}: no column {name!r}, which '{option}' names{nearest(name, names)}")
    if options.label in (options.split_column, options.time_column):
        raise AutoDPQError(f"{where}: column {options.label!r} is the label; it cannot be the split or the time too")
    asked = set(options.fields or ())
    available = [name for name in names if name not in special.values() or name in asked]
    if options.label in asked:
        raise AutoDPQError(f"{where}: column {options.label!r} is the label; it cannot be a field too")
    # What is no field anyway may be excluded: people list the columns that they do not want.
    exclude = [name for name in options.exclude if name not in special.values()]
    fields = select_fields(available, options.fields, exclude, where)
    return _Roles(options.label, fields, options.split_column, options.time_column)


def _batches(frames: Iterator[pl.DataFrame], roles: _Roles, where: str) -> Iterator[Batch]:
    reader = ColumnReader(where)
    for frame in frames:
        yield Batch(
            values=pl.DataFrame([reader.text(frame[name]) for name in roles.fields]),
            labels=reader.labels(frame[roles.label]),
            time=None if roles.time is None else reader.time(frame[roles.time]),
            split=None if roles.split is None else reader.split(frame[roles.split]),
        )
        reader.advance(len(frame))


def text_frames(path: Path, names: Sequence[str], columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Some columns of comma-separated text in batches, all of type String.

    Args:
        path: The file.
        names: All its columns.
        columns: The wanted ones.

    Raises:
        AutoDPQError: The file cannot be read, is cut short, has no rows or rows of another length, or is not UTF-8.
    """
    row = 0
    for frame in Delimited(str(path), path, names, quoted=True).batches(columns):
        # A quote that is never closed swallows the lines after it without a parser's error.
        for column in frame:
            broken = column.str.contains("\n", literal=True)
            if broken.any():
                at = row + int(broken.arg_max() or 0) + 1
                raise AutoDPQError(f"{path}, row {at}, column {column.name!r}: a line break; is a quote not closed?")
        yield frame
        row += len(frame)


def parquet_schema(path: Path) -> pa.Schema:
    """The columns of a parquet file and their types.

    Raises:
        AutoDPQError: It is no parquet file, or is cut short.
    """
    return _parquet(path).schema_arrow


def parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of a parquet file in batches, of the types that they have.

    Raises:
        AutoDPQError: The file is damaged, or a text is not UTF-8.
    """
    row = 0
    try:
        for batch in _parquet(path).iter_batches(BATCH_ROWS, columns=list(columns)):
            _check_values(batch, path, row)
            yield batch
            row += batch.num_rows
    except _DAMAGED:
        raise AutoDPQError(f"{path}: the parquet file is damaged; write it again") from None


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


def _parquet_frames(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    for batch in parquet_batches(path, columns):
        yield pl.DataFrame([to_series(name, batch.column(name), path) for name in columns])


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


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except _DAMAGED:
        raise AutoDPQError(f"{path}: this is no parquet file, or one cut short; write it again") from None
