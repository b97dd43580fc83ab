from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.data import EncodedDataset, binning, load_dataset
from autodpq.data.binning import Bins, NumberSurvey, as_numbers
from autodpq.errors import AutoDPQError

Write = Callable[..., Path]
FLOATS = st.floats(allow_nan=False)


def survey(*columns: list[Any] | pl.Series) -> NumberSurvey:
    found = NumberSurvey()
    for column in columns:
        found.add(column if isinstance(column, pl.Series) else pl.Series("a", column), "x")
    return found


def with_none(numbers: npt.NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(number) else number for number in numbers.tolist()]


def bins_of(dataset: EncodedDataset, name: str) -> list[int | None]:
    """The number of each row's bin, from the lowest; None where it is missing."""
    words = dataset.vocabulary().filter(pl.col("field") == name)
    order = {row["id"]: row["at_least"] for row in words.iter_rows(named=True)}
    edges = sorted(edge for edge in order.values() if edge is not None)
    ids = dataset.ids[:, dataset.field_names.index(name)].tolist()
    return [None if order[row] is None else edges.index(order[row]) for row in ids]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series(["1.5", " 1.5 ", "", "NaN", "NA", "null", "None", r"\N", "-2e1", "inf", "x", "1,5", "0x1", "-0.0"]),
        pl.Series([1.5, 1.5, *[None] * 6, -20.0, math.inf, None, None, None, -0.0]),
    ],
)
def test_numbers_missing_ones_and_what_is_none(column: pl.Series) -> None:
    numbers, wrong = as_numbers(column, "x")
    assert with_none(numbers) == [1.5, 1.5, *[None] * 6, -20.0, math.inf, None, None, None, 0.0]
    assert survey([-0.0, 0.0, 1.0]).bins().names == ["[-inf, 1)", "[1, inf)"]
    assert survey([-1.0, -0.0]).bins().names == ["[-inf, 0)", "[0, inf)"]
    assert np.flatnonzero(wrong).tolist() == ([10, 11, 12] if column.dtype == pl.String else [])


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64, pl.String, pl.Decimal(9, 3)])
def test_one_number_is_the_same_in_every_type(dtype: Any) -> None:
    values = [Decimal("0.1"), Decimal("16777.217"), None]
    column = (
        pl.Series(values, dtype=pl.Decimal(9, 3))
        if isinstance(dtype, pl.Decimal)
        else pl.Series(["0.1", "16777.217", None]).cast(dtype)
    )
    found = with_none(as_numbers(column, "x")[0])
    assert found == [0.1, 16777.217 if dtype != pl.Float32 else found[1], None]
    assert found[1] == pytest.approx(16777.217, rel=1e-7)


@given(st.lists(FLOATS, min_size=1, max_size=300), st.integers(1, 299))
def test_every_number_lies_in_the_bin_whose_edges_enclose_it(values: list[float], cut: int) -> None:
    bins = survey(values[:cut], values[cut:]).bins()
    assert np.array_equal(bins.edges, survey(values).bins().edges)
    assert bins.edges[0] == -math.inf and (np.diff(bins.edges[1:]) > 0).all()
    numbers = np.array(values)
    found = bins.indices(numbers)
    upper = np.append(bins.edges[1:], math.inf)
    assert (bins.edges[found] <= numbers).all() and ((numbers < upper[found]) | (upper[found] == math.inf)).all()
    assert set(found.tolist()) == set(range(len(bins)))
    assert len(set(bins.names)) == len(bins)
    assert bins.text(pl.Series("a", values), "x").to_list() == [bins.names[index] for index in found]


def test_bins_hold_equally_many_and_few_numbers_lose_nothing() -> None:
    draw = np.random.Generator(np.random.PCG64(3)).permutation(10_000) / 7
    bins = survey(draw.tolist()).bins()
    assert len(bins) == 100
    assert np.bincount(bins.indices(draw)).tolist() == [100] * 100
    assert len(survey(draw[:600].tolist()).bins()) == 12  # of about 50 rows each
    few = [0.5, 1.5, 7.0] * 100
    found = survey(few).bins()
    assert found.edges.tolist() == [-math.inf, 1.5, 7.0] and found.names == ["[-inf, 1.5)", "[1.5, 7)", "[7, inf)"]
    heavy = survey([0.0] * 9000 + draw[:1000].tolist()).bins()
    assert 5 < len(heavy) < 15 and heavy.indices(np.array([0.0]))[0] == 0


def test_memory_is_bounded_and_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binning, "_SAMPLE", 100)
    numbers = np.random.Generator(np.random.PCG64(4)).random(5003).tolist()
    whole = survey(numbers)
    parts = survey(*(numbers[start : start + 37] for start in range(0, len(numbers), 37)))
    assert 50 < len(whole._sample) <= 100 and whole._sample.tolist() == parts._sample.tolist() == numbers[::64]
    assert np.array_equal(whole.bins().edges, parts.bins().edges)
    counts = np.bincount(whole.bins().indices(np.array(numbers)))
    assert len(counts) == 79 and counts.min() > 0  # one for each number that was kept


COLUMNS = {
    "click": ["0", "1"] * 4,
    "price": ["1.5", "2", "", "1e1", "0.25", "2.5", "2", "3"],
    "count": ["7", "8", "9", "7", "", "7", "8", "9"],
    "mixed": ["1.5", "2", "n", "1e1", "0.25", "2.5", "2", "3"],
}


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow", "float32", "text"])
def test_decimal_numbers_are_binned_and_whole_ones_where_they_are_named(tmp_path: Path, kind: str) -> None:
    frame = pl.DataFrame(COLUMNS)
    typed = frame.with_columns(
        price=pl.col("price").cast(pl.Float32 if kind == "float32" else pl.Float64, strict=False),
        count=pl.col("count").cast(pl.Int64, strict=False).cast(pl.Float64),  # as pandas has them
    )
    path = tmp_path / f"own.{kind if kind in ('csv', 'arrow') else 'parquet'}"
    if kind == "csv":
        frame.write_csv(path)
    elif kind == "arrow":
        typed.write_ipc(path)
    else:
        (frame if kind == "text" else typed).write_parquet(path)
    dataset = load_dataset(path)
    if kind == "text":  # a column of text is what its writer says
        assert dataset.binned == {} and dataset.vocabulary().columns == ["field", "id", "value"]
        dataset = load_dataset(path, numeric=["price"])
    assert dataset.binned == {"price": 2} and "price (2 bins)" in dataset.notes()[0]
    assert bins_of(dataset, "price") == [0, 1, None, 1, 0, 1, 1, 1]
    named = load_dataset(path, numeric=["count", "price"])
    assert named.binned == {"price": 2, "count": 2} and named.fingerprint != dataset.fingerprint
    assert bins_of(named, "count") == [0, 1, 1, 0, None, 0, 1, 1]
    assert load_dataset(path, numeric=["count", "price"]).binned == named.binned  # as the cache keeps it
    words = named.vocabulary().filter(pl.col("field") == "mixed")
    assert words["at_least"].null_count() == len(words) == 7


def test_a_column_of_numbers_is_known_by_its_last_row_too(write_table: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autodpq.data.readers.text._BLOCK_BYTES", 500)
    monkeypatch.setattr("autodpq.data.readers.text.BATCH_ROWS", 50)
    rows = [f"{n % 2},{n / 8},{n},{n}" for n in range(1000)]
    path = write_table("\n".join(["click,a,b,c", *rows, "1,x,0.5,9"]))
    assert load_dataset(path).binned == {"b": 20}
    with pytest.raises(
        AutoDPQError, match=r"own\.csv, row 1001, column 'a': 'x' is no number, which 'numeric' needs; 'missing'"
    ):
        load_dataset(path, numeric=["a"])


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["x", None]), r"own\.parquet, row 1, column 'a': 'x' is no number, which 'numeric' needs"),
        (pa.array([None, None], pa.float64()), r"own\.parquet, column 'a': there is no number in it"),
        (pa.array([True, False]), r"own\.parquet, row 1, column 'a': 'True' is no number"),
        (pa.array([[1], [2]]), r"own\.parquet, column 'a': values of type List"),
    ],
)
def test_columns_that_cannot_be_binned(tmp_path: Path, column: pa.Array, message: str) -> None:
    pq.write_table(pa.table({"click": [0, 1], "a": column, "b": [0, 1]}), tmp_path / "own.parquet")
    with pytest.raises(AutoDPQError, match=message):
        load_dataset(tmp_path / "own.parquet", numeric=["a"])
    with pytest.raises(AutoDPQError, match=r"no field 'A', which 'numeric' names; did you mean 'a'\?"):
        load_dataset(tmp_path / "own.parquet", numeric=["A"])


def test_values_of_no_bin_are_missing_ones() -> None:
    bins = Bins(np.array([-math.inf, 1.0]))
    assert bins.text(pl.Series("a", [None, 1.0, -5.0, math.inf]), "x").to_list() == [
        "", "[1, inf)", "[-inf, 1)", "[1, inf)",
    ]  # fmt: skip
    assert bins.text(pl.Series("a", [], dtype=pl.Float64), "x").to_list() == []
