"""The side file of a vocabulary: texts, as small as parquet makes them, or hashes of them (no torch)."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from autodpq.data.digest import file_digest
from autodpq.errors import AutoDPQError, nearest
from autodpq.files import write_whole
from autodpq.packed.file import map_arrays, named, write_arrays
from autodpq.packed.manifest import HASH, SideFile
from autodpq.packed.spec import AnySpec
from autodpq.packed.vocabulary.hashes import Hashes
from autodpq.packed.vocabulary.words import AT_LEAST, Numbers, Words

if TYPE_CHECKING:
    import pyarrow as pa

Values = Words | Numbers | Hashes
"""One field's values, which look up."""

_COLUMNS = {"field": pl.String, "id": pl.Int32, "run": pl.Int32, "value": pl.String, AT_LEAST: pl.Float64}
_SCHEMAS = [
    pl.Schema({name: _COLUMNS[name] for name in ("field", number, "value", *more)})
    for number in ("run", "id")
    for more in ((), (AT_LEAST,))
]

_LEVEL, _FAST_LEVEL = 15, 3  # of zstd: the one saves up to a fifth, and takes half a minute for a million texts
_FAST_FROM = 1 << 18  # rows
_TEXTS = ("DELTA_BYTE_ARRAY", "PLAIN")  # numbers and what begins alike is smaller by the one, random texts by the other
_TRIED = 1 << 16  # rows that both are tried on
_NUMBERS = {"run": "BYTE_STREAM_SPLIT", "id": "DELTA_BINARY_PACKED", AT_LEAST: "PLAIN"}

_ADVICE = "copy it anew from beside the packed file, or export the model again"


def write_vocabulary(
    path: Path, values: pl.DataFrame, tables: Sequence[AnySpec], missing: Sequence[str] = ()
) -> SideFile:
    """Writes the side file, whole or not at all.

    Values that share their field's id for values never seen are left out: they get it anyway. Bins all stay, for where
    one ends another one's edge says. A text that stood for a missing value gets the id of the missing value, where a
    field has one. A file that holds the same already stays as it is, so that others that name its digest stay right.

    Args:
        path: Where to.
        values: Columns field, id, value and, where a field is binned, at_least, as
            :meth:`EncodedDataset.vocabulary` gives them.
        tables: The packed tables, one per field.
        missing: Canonical texts that stood for a missing value in training.

    Returns:
        What the manifest says of the file.

    Raises:
        AutoDPQError: A field has no table, an id lies outside its table, or the file cannot be written.
    """
    limits = pl.DataFrame(
        {"field": [table.name for table in tables], "n_rows": [table.n_rows for table in tables]},
        schema={"field": pl.String, "n_rows": pl.Int64},
    )
    known = values.lazy().join(limits.lazy(), on="field", how="left")
    outside = known.filter(pl.col("n_rows").is_null() | ~pl.col("id").is_between(0, pl.col("n_rows") - 1))
    for field, number, value, n_rows in outside.select("field", "id", "value", "n_rows").head(1).collect().iter_rows():
        if n_rows is None:
            raise AutoDPQError(f"{path}: field {field!r} has no table{nearest(field, limits['field'])}")
        raise AutoDPQError(f"{path}: field {field!r}, value {value!r}: id {number} is outside 0..{n_rows - 1}")
    names, kept = ["field", "id", "value"], ~_is_shared(values, tables)
    if AT_LEAST in values.columns:
        names, kept = [*names, AT_LEAST], kept | values[AT_LEAST].is_not_null()
    counted = values.filter(kept).select(pl.col(name).cast(_COLUMNS[name]) for name in names)
    absent = counted.filter(pl.col("value") == "")
    counted = pl.concat([counted, *(absent.with_columns(value=pl.lit(text, pl.String)) for text in missing)])
    counted = counted.sort("field", "id", "value")
    if not _holds(path, counted):
        write_whole(path, _smallest(_by_runs(counted)))
    return SideFile(path.name, file_digest(path))


def _is_shared(values: pl.DataFrame, tables: Sequence[AnySpec]) -> pl.Series:
    """Whether a row's id is its field's fallback, and not of this value alone."""
    shared = pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)
    for table in tables:
        found = (values["field"] == table.name) & (values["id"] == table.fallback)
        if found.sum() > 1:
            shared |= found
    return shared


def _by_runs(values: pl.DataFrame) -> pl.DataFrame:
    """Values by their texts, which are smaller so, with the number of their run for their id.

    Ids are ranks by falling frequency, ties by value, so that few runs of ids have texts that rise. Where ids are not
    0, 1, 2, ... in every field they stay, and so do values, by id.

    Args:
        values: By field and id.
    """
    field, number, value = (pl.col(name) for name in ("field", "id", "value"))
    if not values.select((number == pl.int_range(pl.len()).over("field")).all()).item():
        return values
    begins = ((value <= value.shift()) | (field != field.shift())).fill_null(True)
    runs = begins.cast(pl.Int32).cum_sum().over("field") - 1
    by_runs = values.select("field", runs.alias("run"), "value", *values.columns[3:])
    return by_runs.sort("field", "value")


def _smallest(values: pl.DataFrame) -> bytes:
    """The parquet file, its texts encoded in the way that makes the first ones smallest."""
    import pyarrow as pa

    return encoded([pa.Table.from_arrays([column.to_arrow() for column in values], names=values.columns)])


def encoded(tables: Sequence[pa.Table]) -> bytes:
    """Tables one after another as one parquet file, all encoded in the way that makes the first texts smallest.

    What is written of a table does not depend on those behind it, so that a file of more of them begins as that of
    fewer does.
    """
    level = _LEVEL if len(tables[0]) < _FAST_FROM else _FAST_LEVEL
    some = tables[0].slice(0, _TRIED)
    texts = min(_TEXTS, key=lambda tried: len(_as_parquet([some], tried, level)))
    return _as_parquet(tables, texts, level)


def _as_parquet(tables: Sequence[pa.Table], texts: str, level: int) -> bytes:
    import pyarrow.parquet as pq

    file, names = io.BytesIO(), tables[0].column_names
    with pq.ParquetWriter(
        file, tables[0].schema, compression="zstd", compression_level=level, use_dictionary=["field"],
        write_statistics=False, data_page_size=1 << 26, store_schema=False,
        column_encoding={"value": texts, **{name: _NUMBERS[name] for name in names if name in _NUMBERS}},
    ) as writer:  # fmt: skip
        for table in tables:
            writer.write_table(table)
    return file.getvalue()


def _holds(path: Path, values: pl.DataFrame) -> bool:
    """Whether a file holds the values, which are by field and id."""
    try:
        columns = _read_columns(path)
        words = [
            _words(columns, field).select(pl.lit(field).alias("field"), pl.all())
            for field in columns["field"].unique().sort()
        ]
    except AutoDPQError:
        return False
    if (AT_LEAST in columns) != (AT_LEAST in values.columns):
        return False
    return pl.concat([values.clear(), *words]).sort("field", "id", "value").equals(values)


def _read_columns(path: Path) -> dict[str, pl.Series]:
    """The columns of a side file; by Arrow, for polars would need its threads, which a forked process has not.

    Raises:
        AutoDPQError: It is no side file of texts; the message does not name it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, use_threads=False, pre_buffer=False)
        columns = {
            name: pl.Series(name, pl.from_arrow(column.combine_chunks()))
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    except (OSError, ValueError, pa.ArrowException, pl.exceptions.PolarsError):
        raise AutoDPQError(f"this is no parquet file, or a damaged one; {_ADVICE}") from None
    if pl.Schema({name: column.dtype for name, column in columns.items()}) not in _SCHEMAS:
        raise AutoDPQError(f"this is no vocabulary: its columns are not field, run and value; {_ADVICE}")
    return columns


def _words(columns: Mapping[str, pl.Series], field: str) -> pl.DataFrame:
    """A field's values: columns id, value and, where there is one, at_least.

    Raises:
        AutoDPQError: A run is missing.
    """
    own = columns["field"] == field
    words = {name: column.filter(own) for name, column in columns.items() if name != "field"}
    if "run" in words:
        runs = words.pop("run")
        if runs.has_nulls():
            raise AutoDPQError("has missing values")
        ids = np.empty(len(runs), np.int32)
        ids[np.argsort(runs.to_numpy(), kind="stable")] = np.arange(len(runs), dtype=np.int32)
        words = {"id": pl.Series(ids), **words}
    return pl.DataFrame(words)


def read_side_file(path: Path, side: SideFile, tables: Sequence[AnySpec]) -> dict[str, Values]:
    """Reads a side file.

    Args:
        path: The side file.
        side: What the manifest says of it.
        tables: The packed tables, one per field.

    Returns:
        Per field, in the order of the tables, its values.

    Raises:
        AutoDPQError: The file is missing, cut off, altered, or of another model.
    """
    if not path.is_file():
        raise AutoDPQError(f"{path}: the vocabulary of the model is missing; {_ADVICE}")
    if file_digest(path) != side.sha256:
        raise AutoDPQError(f"{path}: this is not the model's vocabulary, or it is cut off or altered; {_ADVICE}")
    with named(path):
        read = _of_texts(_read_columns(path)) if side.hash is None else _of_hashes(path)
        fields: dict[str, Values] = {}
        for table in tables:
            try:
                fields[table.name] = read(table)
            except AutoDPQError as error:
                raise AutoDPQError(f"field {table.name!r} {error}; {_ADVICE}") from None
        return fields


def _of_texts(columns: Mapping[str, pl.Series]) -> Callable[[AnySpec], Values]:
    """What gives the values of a table's field."""

    def read(table: AnySpec) -> Values:
        words = _words(columns, table.name)
        binned = AT_LEAST in columns and words[AT_LEAST].count() > 0
        return (Numbers if binned else Words).of(words, table)

    return read


def _of_hashes(path: Path) -> Callable[[AnySpec], Values]:
    """As :func:`_of_texts`, of hashes."""
    _, arrays, _ = map_arrays(path)

    def read(table: AnySpec) -> Values:
        own = {part: arrays.get(f"{table.name}.{part}") for part in ("starts", "rests", "ids", "edges", "texts")}
        found = {part: array for part, array in own.items() if array is not None}
        if set(found) - {"texts"} == {"edges", "ids"}:
            return Numbers.stored(**found, table=table)
        if set(found) != {"starts", "rests", "ids"}:
            raise AutoDPQError("has no hashes")
        return Hashes.stored(**found, table=table)

    return read


def hash_vocabulary(source: Path, side: SideFile, tables: Sequence[AnySpec], target: Path) -> SideFile:
    """Writes a side file with the hashes of the texts of another one, whole or not at all; bins stay as they are.

    Args:
        source: A side file of texts.
        side: What the manifest says of it.
        tables: The packed tables, one per field.
        target: Where to.

    Returns:
        What the manifest says of the new file.

    Raises:
        AutoDPQError: The source is missing, cut off, altered, or of another model; hashes do not tell its texts apart;
            or the file cannot be written.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    fields = read_side_file(source, side, tables)
    for table in tables:
        values = fields[table.name]
        if isinstance(values, Words):
            try:
                values = Hashes.of(values, table)
            except AutoDPQError as error:
                raise AutoDPQError(f"{source}: field {table.name!r} {error}") from None
        arrays |= {f"{table.name}.{part}": array for part, array in values.arrays.items()}
    write_arrays(target, lambda: json.dumps({"hash": HASH}), arrays)
    return SideFile(target.name, file_digest(target), HASH)
