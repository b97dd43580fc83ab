"""Files of raw values to files of click probabilities, some rows at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from autodpq.data.readers.arrow import to_series
from autodpq.data.readers.files import OwnFiles, known_file
from autodpq.errors import AutoDPQError
from autodpq.files import whole_file
from autodpq.packed.scoring import probabilities
from autodpq.packed.vocabulary.lookup import mostly_unseen
from autodpq.serving import ServedModel, open_model

PROBABILITY = "probability"
"""The column that is added."""

_Write = Callable[[pa.Table], None]
Score = Callable[[npt.NDArray[np.int32], Sequence[int]], npt.NDArray[np.floating]]
"""Ids [rows, columns], and how many columns each field has, to logits [rows]."""


@dataclass(frozen=True)
class Predicted:
    """What became of a file.

    Attributes:
        n_rows: Rows.
        unseen: Per field, in how many rows its value was never seen in training.
    """

    n_rows: int
    unseen: Mapping[str, int]

    def lines(self, out: Path) -> Iterator[str]:
        """What to tell people."""
        yield f"{self.n_rows:,} rows in {out}"
        shares = [f"{name} in {count:,} ({count / self.n_rows:.1%})" for name, count in self.unseen.items() if count]
        if shares:
            yield f"rows with values never seen in training, on their field's fallback row: {', '.join(shares)}"
        for _, text in mostly_unseen(self.unseen, self.n_rows):
            yield f"Warning: {text}"


def predict_file(model: Path, input: Path, out: Path) -> Predicted:
    """Writes the click probability of every row of a file, in its order, whole or not at all.

    The last digits of a probability (about 1e-7) can depend on the rows that are scored in one batch with it.

    Args:
        model: A packed file of a network, its vocabulary beside it.
        input: One file, a folder or a pattern as data sets are, with a column of raw values per field of the model.
        out: CSV or parquet: the columns of ``input`` that are no fields, as they are, and ``probability``.

    Raises:
        AutoDPQError: A file cannot be read or written, or ``input`` lacks a field or has a column ``probability``.
    """
    open_output = _output_of(out)
    served = open_model(model)
    vocabulary = served.vocabulary
    files = known_file(input)
    if out.resolve() in [part.path.resolve() for part in files.parts]:
        raise AutoDPQError(f"{out}: this is the input too; give another file to --out")
    names = files.column_names()
    vocabulary.check_columns(names, str(input))
    kept = [name for name in names if name not in served.field_names]
    if PROBABILITY in kept:
        raise AutoDPQError(f"{input}: column {PROBABILITY!r} is there already, and is no field; rename or remove it")
    score, n_rows = score_of(served, model), 0
    unseen: Counter[str] = Counter()
    schema = _kept_schema(files, kept).append(pa.field(PROBABILITY, pa.float64()))
    with open_output(schema) as write:
        for path, values, columns in _parts(files, served.field_names, kept):
            ids, widths = vocabulary.look_up_bags(values, str(path))
            unseen.update(vocabulary.unseen(ids, widths))
            found = probabilities(score(vocabulary.with_fallbacks(ids, widths), widths))
            # Columns of text are larger in memory than in the file: the schema says what they are to be.
            write(pa.Table.from_arrays([*columns, pa.array(found)], schema.names).cast(schema))
            n_rows += len(found)
    return Predicted(n_rows, {name: unseen[name] for name in served.field_names})


def score_of(served: ServedModel, path: Path) -> Score:
    """Ids to logits: by numpy, or by torch where the model is a plug-in."""
    if served.scores:
        return served.score
    from autodpq.packed.load import PackedNetwork, load

    network = load(path)
    assert isinstance(network, PackedNetwork), "other files have no vocabulary"
    return network.score


def _kept_schema(files: OwnFiles, kept: Sequence[str]) -> pa.Schema:
    """Names and types of the columns that are kept; without pandas' remarks, which tell of the fields too."""
    if files.is_text:
        return pa.schema([pa.field(name, pa.string()) for name in kept])
    types = files.types(kept)
    return pa.schema([pa.field(name, types[name]) for name in kept])


def _parts(
    files: OwnFiles, fields: Sequence[str], kept: Sequence[str]
) -> Iterator[tuple[Path, pl.DataFrame, list[pa.Array | pa.ChunkedArray]]]:
    """The file, the fields' raw values, and the columns that are kept, in batches."""
    names = [*fields, *kept]
    if not files.is_text:
        files.types(fields)
        for path, batch in files.batches(names):
            yield path, _frame(batch.select(list(fields)), path), [batch.column(name) for name in kept]
        return
    for path, frame in files.frames(names):
        yield path, frame.select(fields), frame.select(kept).to_arrow().columns


def _frame(table: pa.Table | pa.RecordBatch, path: Path) -> pl.DataFrame:
    return pl.DataFrame([to_series(name, table.column(name), path) for name in table.schema.names])


def _output_of(path: Path) -> Callable[[pa.Schema], AbstractContextManager[_Write]]:
    """Opens a file to write tables of a schema to, by its suffix.

    Raises:
        AutoDPQError: The suffix is neither .csv nor .parquet.
    """
    match path.suffix.lower():
        case ".parquet":
            return partial(_parquet_output, path)
        case ".csv":
            return partial(_text_output, path)
    raise AutoDPQError(f"{path}: this kind of file cannot be written; expected one of .csv, .parquet")


@contextmanager
def _parquet_output(path: Path, schema: pa.Schema) -> Iterator[_Write]:
    with whole_file(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        yield writer.write_table


@contextmanager
def _text_output(path: Path, schema: pa.Schema) -> Iterator[_Write]:
    header = _frame(schema.empty_table(), path)
    for name, dtype in header.schema.items():
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise AutoDPQError(f"{path}: column {name!r}: a CSV has no place for type {dtype}; write a .parquet")
    with whole_file(path) as temporary, temporary.open("wb") as file:
        header.write_csv(file)

        def write(table: pa.Table) -> None:
            # Quotes for empty values, as polars sets them to tell them from missing ones, were in no input.
            text = pl.col(pl.String).replace("", None)
            _frame(table, path).with_columns(text).write_csv(file, include_header=False)

        yield write
