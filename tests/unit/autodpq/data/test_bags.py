"""Cells of several values: how they are split, encoded and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.data import EncodedDataset, load_dataset
from autodpq.data.bags import as_columns, find_separator, read_multi, split_bags
from autodpq.data.dataset import rarest_counts
from autodpq.errors import AutoDPQError
from autodpq.plan import NO_ID, Bag

CELLS = ["a|b", "b", "", " b | c|", "|", "a|a|NaN", "7.0|7"]
BAGS = [["a", "b"], ["b"], [""], ["b", "c"], [""], ["a", "a"], ["7", "7"]]
LABELS = [0, 1, 0, 1, 0, 1, 1]


def bags_of(column: pl.Series, separator: str, missing: tuple[str, ...] = ()) -> list[list[str]]:
    values, lengths = split_bags(column, separator, missing, "cells")
    ends = np.cumsum(lengths)
    return [values.to_list()[end - size : end] for end, size in zip(ends, lengths, strict=True)]


def decoded(dataset: EncodedDataset, name: str) -> list[list[str]]:
    """The values of each row, by the vocabulary."""
    place = dataset.field_names.index(name)
    first = sum(dataset.columns[:place])
    words = dataset.vocabulary().filter(pl.col("field") == name).sort("id")["value"].to_list()
    rows = dataset.ids[:, first : first + dataset.columns[place]]
    return [[words[number] for number in row if number != NO_ID] for row in rows]


def test_texts_and_lists_are_the_same_bags() -> None:
    assert bags_of(pl.Series("tags", CELLS), "|") == BAGS
    lists = pl.Series("tags", [["a", "b"], ["b"], None, ["b", None, " c "], [], ["a", "a", "NaN"], ["7.0", "7"]])
    assert bags_of(lists, "") == BAGS
    assert bags_of(pl.Series("tags", [[1, 2], [], [7]]), "") == [["1", "2"], [""], ["7"]]
    assert bags_of(pl.Series("tags", [[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)), "") == [["1", "2"], ["3", "4"]]
    assert bags_of(pl.Series("tags", ["-|b", "-"]), "|", ("-",)) == [["b"], [""]]
    assert bags_of(pl.Series("tags", [], dtype=pl.String), "|") == []


cells = st.lists(st.lists(st.sampled_from(["x", "", " y", "12", "ü"]), max_size=4), max_size=6)


@given(rows=cells, mark=st.sampled_from(["|", ";", "::", " "]))
def test_against_plain_loops(rows: list[list[str]], mark: str) -> None:
    texts = [mark.join(row) for row in rows]
    expected = [[piece.strip() for piece in text.split(mark) if piece.strip()] or [""] for text in texts]
    assert bags_of(pl.Series("tags", texts, dtype=pl.String), mark) == expected
    values, lengths = split_bags(pl.Series("tags", texts, dtype=pl.String), mark, (), "cells")
    table = as_columns(np.arange(len(values), dtype=np.int32), lengths, 5)
    assert [[number for number in row if number != NO_ID] for row in table] == [
        list(range(end - size, end)) for end, size in zip(np.cumsum(lengths), lengths, strict=True)
    ]


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["a|b, c", "d", ""], "|"),
        (["New York;Bonn", "Bonn", "Bonn"], ";"),
        (["a, b", "c"], ","),
        (["a b", "c"], " "),
        ([["a"], []], ""),
    ],
)
def test_the_separator_is_found(texts: list[Any], found: str) -> None:
    assert find_separator(pl.Series("tags", texts), "cells") == found


def test_one_separator_in_a_thousand_is_none_where_another_is_often() -> None:
    assert find_separator(pl.Series("tags", ["a,b"] * 999 + ["a|b,c"]), "cells") == ","


def test_a_separator_that_is_nowhere_must_be_said() -> None:
    with pytest.raises(AutoDPQError, match=r"cells, column 'tags': none of its values holds .* as 'multi' tags:/"):
        find_separator(pl.Series("tags", ["a/b", "c"]), "cells")


def test_options_name_fields_and_separators() -> None:
    assert read_multi(["tags", "a:b:;"], ["tags", "a", "a:b"], "own") == {"tags": None, "a:b": ";"}
    for given_, said in (
        (["tag"], r"own: no field 'tag', which 'multi' names; did you mean 'tags'\?"),
        (["tags", "tags:|"], r"own: field 'tags' is given twice in 'multi'"),
    ):
        with pytest.raises(AutoDPQError, match=said):
            read_multi(given_, ["tags", "user"], "own")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTODPQ_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_file_of_bags(cache: Path) -> None:
    frame = pd.DataFrame({"click": LABELS, "user": list("uvuvuvu"), "tags": CELLS, "city": list("xxxyyyy")})
    frame.to_csv(cache / "own.csv", index=False)
    for _ in range(2):  # the second time as the cache keeps it
        dataset = load_dataset(cache / "own.csv", multi=["tags:|"])
        assert decoded(dataset, "tags") == BAGS and decoded(dataset, "city") == [[city] for city in "xxxyyyy"]
        assert dataset.columns == (1, 2, 1) and dataset.bags == {"tags": Bag("|", 2)}
        assert dataset.ids.shape == (7, 4) and dataset.ids.dtype == np.int32
    counts = dict(zip(dataset.vocabulary().filter(pl.col("field") == "tags")["value"], dataset.counts[1], strict=True))
    assert counts == {"a": 3, "b": 3, "": 2, "7": 2, "c": 1}
    assert dataset.fields(2)[1].columns == 2 and dataset.fields(2)[1].head == 4
    assert "tags is read as bags of up to 2 values between '|', an empty one being a value" in dataset.notes()
    pl.DataFrame({**frame, "tags": [cell.split("|") for cell in CELLS]}).write_parquet(cache / "own.parquet")
    lists = load_dataset(cache / "own.parquet", multi=["tags"])
    assert lists.bags == {"tags": Bag("", 2)}
    np.testing.assert_array_equal(lists.ids, dataset.ids)
    found = load_dataset(cache / "own.csv", multi=["tags"])
    assert found.bags == dataset.bags
    np.testing.assert_array_equal(found.ids, dataset.ids)
    plain = load_dataset(cache / "own.csv")
    assert plain.bags == {} and plain.ids.shape == (7, 3) and plain.fingerprint != dataset.fingerprint
    missing = load_dataset(cache / "own.csv", multi=["tags:|"], missing=["b"])
    assert decoded(missing, "tags") == [[v for v in bag if v != "b"] or [""] for bag in BAGS]


def test_counted_over_some_rows(cache: Path) -> None:
    pd.DataFrame({"click": LABELS, "tags": CELLS, "user": list("uvuvuvu")}).to_csv(cache / "own.csv", index=False)
    dataset = load_dataset(cache / "own.csv", multi=["tags:|"])
    some = dataset.recounted(np.array([0, 1, 2]))
    assert [int(count) for count in some.counts[0]] == [2, 1, 1, 0]
    words = some.vocabulary().filter(pl.col("field") == "tags")
    by_id = {number: sorted(words.filter(pl.col("id") == number)["value"]) for number in range(4)}
    assert by_id == {0: ["b"], 1: [""], 2: ["a"], 3: ["7", "c"]} or by_id == {
        0: ["b"],
        1: ["a"],
        2: [""],
        3: ["7", "c"],
    }
    for row, bag in zip(some.ids[:, :2], BAGS, strict=True):
        own = [number for number in row if number != NO_ID]
        assert len(own) == len(bag) and all(value in by_id[number] for number, value in zip(own, bag, strict=True))
    rarest = rarest_counts(some.ids, some.counts, some.columns)
    assert rarest.tolist() == [1, 1, 1, 0, 1, 1, 0]


def test_what_looks_like_bags_is_told(cache: Path) -> None:
    tags = ["x|y", "y|z", "z", "x|z", "y", "x", "z|x|y"]
    frame = pd.DataFrame({"click": LABELS, "tags": tags, "place": [f"Köln, {number}|" for number in range(7)]})
    frame.to_csv(cache / "own.csv", index=False)
    notes = load_dataset(cache / "own.csv").notes()
    assert [note for note in notes if "several values" in note] == [
        "tags looks like several values in one, '|' between them, in 4 of 7 rows; --multi \"tags:|\" reads them as bags"
    ]
    assert not [note for note in load_dataset(cache / "own.csv", multi=["tags"]).notes() if "several values" in note]


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        (
            {"tags": [["a"], ["b"]]},
            {},
            r"column 'tags': values of type List\(String\) are no categories; exclude it, or --multi tags",
        ),
        ({"tags": [[["a"]], [["b"]]]}, {"multi": ["tags"]}, r"column 'tags': values of type List"),
        ({"tags": ["a|b", "|".join("c" * 256)]}, {"multi": ["tags"]}, r"row 2, column 'tags': 256 values in one"),
        ({"tags": ["1|2", "3"]}, {"multi": ["tags"], "numeric": ["tags"]}, r"in 'numeric' and in 'multi'; give one"),
        ({"tags": ["a|b", "c"]}, {"multi": ["click"]}, r"no field 'click', which 'multi' names"),
    ],
)
def test_bags_that_cannot_be_read(cache: Path, columns: dict[str, Any], options: dict[str, Any], said: str) -> None:
    pl.DataFrame({"click": [0, 1], **columns}).write_parquet(cache / "own.parquet")
    with pytest.raises(AutoDPQError, match=rf"own\.parquet.*{said}") as caught:
        load_dataset(cache / "own.parquet", **options)
    assert "\n" not in str(caught.value)
