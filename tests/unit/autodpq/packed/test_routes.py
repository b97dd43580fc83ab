"""A model that was trained from one kind of source is asked with another: the same values have the same ids."""

from __future__ import annotations

import datetime
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autodpq.choices import DPQ
from autodpq.data import load_dataset
from autodpq.packed.spec import TableSpec
from autodpq.packed.vocabulary.lookup import Vocabulary, frame_of
from autodpq.packed.vocabulary.side_file import write_vocabulary

DAYS = st.dates(datetime.date(1700, 1, 1), datetime.date(2200, 1, 1))
TIMES = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1))
COLUMNS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "flag": (st.booleans(), pl.Boolean),
    "number": (st.integers(-(2**52), 2**52), pl.Int64),
    "whole": (st.integers(-(10**15), 10**15).map(float), pl.Float64),
    "day": (DAYS, pl.Date),
    "midnight": (DAYS.map(lambda day: datetime.datetime.combine(day, datetime.time())), pl.Datetime("us")),
    "moment": (TIMES, pl.Datetime("us")),
    "name": (st.text("abcXYZ äé北_-", min_size=1, max_size=4).map(lambda text: f"n{text}"), pl.String),
}


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """Rows of a column of each kind, values missing here and there, drawn from few, so that they come again."""
    n_rows = draw(st.integers(2, 12))
    columns = {}
    for name, (values, dtype) in COLUMNS.items():
        few = st.sampled_from([*draw(st.lists(values, min_size=1, max_size=4)), None])
        columns[name] = pl.Series(name, draw(st.lists(few, min_size=n_rows, max_size=n_rows)), dtype=dtype)
    return pl.DataFrame({"click": [row % 2 for row in range(n_rows)], **columns})


def as_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    """As pandas has it by default: whole numbers beside missing ones are decimal ones, truth values objects."""
    return frame.to_pandas()


def as_nullable(frame: pl.DataFrame) -> pd.DataFrame:
    return frame.to_pandas().convert_dtypes().astype({"name": "category"})


TRAINED: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "polars.csv": lambda frame, path: frame.write_csv(path),
    "pandas.csv": lambda frame, path: as_pandas(frame).to_csv(path, index=False),
    "nullable.csv": lambda frame, path: as_nullable(frame).to_csv(path, index=False),
    "polars.parquet": lambda frame, path: frame.write_parquet(path),
    "pandas.parquet": lambda frame, path: as_pandas(frame).to_parquet(path),
    "nullable.parquet": lambda frame, path: as_nullable(frame).to_parquet(path),
    "polars.arrow": lambda frame, path: frame.write_ipc(path),
}


def text_of(frame: pl.DataFrame) -> io.BytesIO:
    return io.BytesIO(frame.write_csv().encode())


def rows_of(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return [json.loads(line) for line in frame.write_ndjson().splitlines()]


def arrays_of(frame: pl.DataFrame) -> dict[str, Any]:
    """Arrays of numpy: of objects where values are missing, times in seconds where they have no fraction."""
    pandas = as_pandas(frame)
    arrays = {name: column.to_numpy() for name, column in pandas.items()}
    return {**arrays, "midnight": arrays["midnight"].astype("datetime64[s]")}


ASKED: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda frame: frame,
    "pandas": as_pandas,
    "nullable": as_nullable,
    "lists": lambda frame: frame.to_dict(as_series=False),
    "numpy": arrays_of,
    "JSON": lambda frame: {name: [row[name] for row in rows_of(frame)] for name in frame.columns},
    "CSV as text": lambda frame: pl.read_csv(text_of(frame), infer_schema=False),
    "CSV by polars": lambda frame: pl.read_csv(text_of(frame), try_parse_dates=True, infer_schema_length=None),
    "CSV by pandas": lambda frame: pd.read_csv(text_of(frame)),
    "CSV by pandas with dates": lambda frame: pd.read_csv(
        io.StringIO(as_pandas(frame).to_csv(index=False)), parse_dates=["day", "midnight", "moment"]
    ),
}


def trained(frame: pl.DataFrame, route: str, folder: Path, number: int) -> tuple[Vocabulary, np.ndarray]:
    """The vocabulary of a model trained from a file, and the ids that training had."""
    path = folder / f"{number}-{route}"
    TRAINED[route](frame, path)
    dataset = load_dataset(path, cache_dir=folder / "cache")
    assert dataset.field_names == tuple(COLUMNS) and not dataset.binned
    tables = [TableSpec(name, len(n), 16, 0, DPQ(4, 2), 0) for name, n in zip(COLUMNS, dataset.counts, strict=True)]
    side = write_vocabulary(folder / f"{number}-{route}.vocabulary.parquet", dataset.vocabulary(), tables)
    return Vocabulary.read(folder / f"{number}-{route}.vocabulary.parquet", side, tables), dataset.ids


COUNTER = itertools.count()


@pytest.mark.parametrize("route", TRAINED)
@settings(max_examples=2)
@given(frame=frames())
def test_any_source_gives_the_ids_of_any_other(
    route: str, frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    vocabulary, ids = trained(frame, route, folder, next(COUNTER))
    for name, ask in ASKED.items():
        found = vocabulary.look_up(frame_of(ask(frame), vocabulary.fields), "x")
        assert found.tolist() == ids.tolist(), name
