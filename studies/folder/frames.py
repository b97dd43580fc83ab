"""Frames as data sets: they are kept in the study's folder, so that a study can be resumed and exported from."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import pandas as pd
import polars as pl
import pyarrow as pa
from pydantic import TypeAdapter

from autodpq.data.digest import file_digest
from autodpq.data.readers.text import check_names
from autodpq.errors import AutoDPQError, one_line
from autodpq.files import whole_file, writing
from autodpq.records.files import damaged, read_json, write_json

Frame: TypeAlias = pd.DataFrame | pl.DataFrame | pa.Table

FILE = "frame.parquet"
_ADVICE = "convert the column, as by .astype(str), or drop it"
_UNFIT = (TypeError, ValueError, OverflowError, pa.ArrowException, pl.exceptions.PolarsError)
"""What a column raises that cannot be kept."""
_DIGESTS = TypeAdapter(dict[str, str])


def keep_frame(frame: Frame, study: Path) -> Path:
    """Writes a frame to ``frame.parquet`` of a study's folder, unless it is there already.

    Raises:
        AutoDPQError: It is no frame, holds what parquet cannot, the folder holds another frame, or cannot be written.
    """
    path = study / FILE
    columns = _to_polars(frame)
    if path.exists():
        if not _read(path).equals(columns):
            raise AutoDPQError(f"out: {path} holds other rows than the frame; name another folder")
        return path
    with writing(study):
        study.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        columns.write_parquet(temporary)
        write_json(_beside(path), {"sha256": file_digest(temporary)})  # before the frame, which is never without it
    return path


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read(path: Path) -> pl.DataFrame:
    advice = "remove it to have it written anew"
    # Every byte counts, for runs are known by the digest of the file; earlier versions wrote none beside it.
    if _beside(path).exists() and read_json(_beside(path), _DIGESTS, advice).get("sha256") != file_digest(path):
        raise damaged(path, "its content is not what was written", advice)
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise damaged(path, one_line(error), advice) from None


def _to_polars(frame: Frame) -> pl.DataFrame:
    if isinstance(frame, pl.DataFrame):
        wrong = next((name for name, kind in frame.schema.items() if kind == pl.Object), None)
        if wrong is not None:
            raise AutoDPQError(f"dataset: column {wrong!r}: Python objects, which parquet cannot hold; {_ADVICE}")
        return frame
    if not isinstance(frame, pd.DataFrame | pa.Table):
        given = type(frame).__name__
        raise AutoDPQError(
            f"dataset: {given} given; a name, a file, a frame of pandas or polars, or an Arrow table is needed"
        )
    check_names(
        [str(name) for name in (frame.columns if isinstance(frame, pd.DataFrame) else frame.column_names)], "dataset"
    )
    try:
        converted = _converted(frame)
    except _UNFIT as error:
        raise AutoDPQError(f"dataset: {_unfit_column(frame) or one_line(error)}; {_ADVICE}") from None
    assert isinstance(converted, pl.DataFrame), "a table has columns"
    return converted


def _converted(frame: pd.DataFrame | pa.Table) -> pl.DataFrame | pl.Series:
    if not isinstance(frame, pd.DataFrame):
        return pl.from_arrow(frame)
    # Arrow knows nothing of sparse ones.
    dense = {name: kind.subtype for name, kind in frame.dtypes.items() if isinstance(kind, pd.SparseDtype)}
    return pl.from_pandas(frame.astype(dense) if dense else frame)


def _unfit_column(frame: pd.DataFrame | pa.Table) -> str | None:
    """Says which column cannot be kept, and of which types its values are; None where each can by itself."""
    for place in range(frame.shape[1]):
        one = frame.iloc[:, [place]] if isinstance(frame, pd.DataFrame) else frame.select([place])
        try:
            _converted(one)
        except _UNFIT as error:
            if isinstance(one, pd.DataFrame):
                kinds = sorted({type(value).__name__ for value in one.iloc[:, 0] if not _is_missing(value)})
                said = f"values of type {' and '.join(kinds)} cannot be one column of parquet"
                return f"column {str(one.columns[0])!r}: {said}"
            return f"column {one.column_names[0]!r}: {one_line(error)}"
    return None


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or value != value
