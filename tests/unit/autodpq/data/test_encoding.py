from __future__ import annotations

import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.data.dataset import EncodedDataset
from autodpq.data.encoding import encode_table
from autodpq.data.inventory import write_inventory
from autodpq.data.source import Batch, Table, select_fields
from autodpq.data.values import canonical_text
from autodpq.errors import AutoDPQError

VALUES = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=3).map(canonical_text)
COLUMNS = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        st.lists(VALUES, min_size=n, max_size=n),
        st.lists(st.sampled_from(["", "a", "b", "10", "9"]), min_size=n, max_size=n),
        st.lists(st.integers(0, n), max_size=3),
    )
)


def made_labels(n_rows: int) -> npt.NDArray[np.uint8]:
    return (np.arange(n_rows) % 2).astype(np.uint8)


def encode(columns: dict[str, list[str]], cuts: list[int], folder: Path) -> EncodedDataset:
    """Encodes rows that arrive in batches cut at the given places."""
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    labels = made_labels(len(frame))
    edges = [0, *sorted(cuts), len(frame)]
    batches = [Batch(frame[a:b], labels[a:b]) for a, b in pairwise(edges)]
    arrays = encode_table(Table(tuple(columns), batches), folder, "made")
    write_inventory(folder, {})
    counts = np.split(np.load(folder / "counts.npy"), np.cumsum(arrays["cardinalities"])[:-1])
    ids = np.load(folder / "ids.npy")
    return EncodedDataset("made", tuple(columns), ids, labels, tuple(counts), None, None, "00", folder=folder)


def decoded(dataset: EncodedDataset, field: str) -> list[str]:
    column = dataset.field_names.index(field)
    words = dataset.vocabulary().filter(pl.col("field") == field).sort("id")
    assert words["id"].to_list() == list(range(len(words)))
    values: list[str] = words["value"].gather(dataset.ids[:, column]).to_list()
    return values


@given(COLUMNS)
def test_ids_are_ranks_by_falling_count_and_decode_to_the_values(drawn: tuple[list[str], list[str], list[int]]) -> None:
    first, second, cuts = drawn
    with tempfile.TemporaryDirectory() as folder:
        dataset = encode({"first": first, "second": second}, cuts, Path(folder))
        for column, values in enumerate((first, second)):
            counted = Counter(values)
            ranked = sorted(counted, key=lambda value: (-counted[value], value.encode()))
            assert dataset.ids[:, column].tolist() == [ranked.index(value) for value in values]
            assert dataset.counts[column].tolist() == [counted[value] for value in ranked]
            assert decoded(dataset, ("first", "second")[column]) == values


@given(COLUMNS, st.integers(1, 5))
def test_a_value_is_rare_exactly_when_its_id_is_at_least_the_head(
    drawn: tuple[list[str], list[str], list[int]], threshold: int
) -> None:
    first, second, cuts = drawn
    with tempfile.TemporaryDirectory() as folder:
        dataset = encode({"first": first, "second": second}, cuts, Path(folder))
        if max(counts[0] for counts in dataset.counts) < threshold:
            with pytest.raises(AutoDPQError, match="above every count"):
                dataset.fields(threshold)
            return
        for column, (field, values) in enumerate(zip(dataset.fields(threshold), (first, second), strict=True)):
            counted = Counter(values)
            rare = [counted[value] < threshold for value in values]
            assert (dataset.ids[:, column] >= field.head).tolist() == rare


@given(COLUMNS)
def test_batches_do_not_change_what_is_written(drawn: tuple[list[str], list[str], list[int]]) -> None:
    first, second, cuts = drawn
    columns = {"first": first, "second": second}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        encode(columns, cuts, Path(one))
        encode(columns, [], Path(other))
        names = sorted(path.name for path in Path(one).iterdir())
        assert names == ["cardinalities.npy", "counts.npy", "ids.npy", "labels.npy", "meta.json", "vocabulary.parquet"]
        for name in names:
            assert (Path(one) / name).read_bytes() == (Path(other) / name).read_bytes()


def test_many_rows_are_exchanged_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autodpq.data.encoding.BATCH_ROWS", 7)
    values = [str(number**2 % 13) for number in range(100)]
    dataset = encode({"field": values}, [30, 60], tmp_path)
    assert decoded(dataset, "field") == values


@given(COLUMNS, st.data())
def test_recounting_ranks_by_the_counted_rows_alone(
    drawn: tuple[list[str], list[str], list[int]], data: st.DataObject
) -> None:
    first, second, cuts = drawn
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, len(first) - 1), min_size=1))))
    with tempfile.TemporaryDirectory() as folder:
        dataset = encode({"first": first, "second": second}, cuts, Path(folder))
        recounted = dataset.recounted(rows)
        assert recounted.fingerprint != dataset.fingerprint
        words = recounted.vocabulary()
        for column, (name, values) in enumerate((("first", first), ("second", second))):
            counted = Counter(values[row] for row in rows)
            id_of = dict(words.filter(pl.col("field") == name).select("value", "id").iter_rows())
            assert recounted.ids[:, column].tolist() == [id_of[value] for value in values]
            for value, number in id_of.items():
                assert recounted.counts[column][number] == counted[value]
            unseen = {number for value, number in id_of.items() if value not in counted}
            assert unseen in (set(), {len(recounted.counts[column]) - 1})
            assert (np.diff(recounted.counts[column]) <= 0).all()
        assert recounted.recounted(rows).vocabulary().equals(words)


def test_a_threshold_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match="threshold 0: a value is frequent"):
        encode({"field": ["a", "b"]}, [], tmp_path).fields(0)


def test_a_data_set_in_memory_has_no_vocabulary() -> None:
    dataset = EncodedDataset("made", (), np.zeros((0, 0), np.int32), made_labels(0), (), None, None, "00")
    with pytest.raises(AutoDPQError, match="has no vocabulary"):
        dataset.vocabulary()


def test_no_rows_and_one_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match="made: there are no rows"):
        encode_table(Table(("field",), []), tmp_path, "made")
    batch = Batch(pl.DataFrame({"field": ["a", "b"]}), np.ones(2, np.uint8))
    with pytest.raises(AutoDPQError, match="made: every label is 1"):
        encode_table(Table(("field",), [batch]), tmp_path, "made")


def test_fields_are_selected_in_the_source_s_order() -> None:
    assert select_fields(["a", "b", "c"], ["c", "a"], [], "made") == ("a", "c")
    assert select_fields(["a", "b", "c"], None, ["b"], "made") == ("a", "c")
    with pytest.raises(AutoDPQError, match="made: no field 'gendr'; did you mean 'gender'"):
        select_fields(["gender", "age"], ["gendr"], [], "made")
    with pytest.raises(AutoDPQError, match="made: no field is left"):
        select_fields(["a"], None, ["a"], "made")
