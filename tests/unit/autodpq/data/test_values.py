from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.data import load_dataset
from autodpq.data.values import as_text, canonical_text, canonical_texts

ONE_VALUE = {
    "true": ["true", "True", "TRUE"],
    "false": ["false", "False", "FALSE"],
    "": ["", "NaN", "nan", "NaT", "<NA>"],
    "7": ["7", "7.0", "7.00"],
    "-12": ["-12", "-12.0"],
    "0": ["0", "0.0", "-0.0"],
    "2024-01-05": [
        *("2024-01-05", "2024-01-05 00:00", "2024-01-05 00:00:00", "2024-01-05T00:00:00", "2024-01-05T00:00:00.000000"),
        *("2024-01-05 00:00:00+00:00", "2024-01-05T00:00:00Z", "2024-01-05 01:00:00+01:00", "2024-01-04T19:00:00-0500"),
    ],
    "2024-01-05 12:30:00": ["2024-01-05 12:30", "2024-01-05T12:30:00", "2024-01-05 12:30:00.000000000"],
    "2024-01-05 00:00:00.25": ["2024-01-05 00:00:00.25", "2024-01-05T00:00:00.250000"],
    "12:30:00": ["12:30:00", "12:30:00.000000000"],
}
NAMES = [
    *(
        "007",
        "007.0",
        "1.10",
        "1.1",
        "1.0.0",
        "7.",
        "+7",
        "1e5",
        "1e+16",
        "0x1f",
        "12e0",
        ".0",
        "-",
        " 7",
        "7 ",
        "7.0\n",
    ),
    *("tRUE", "T", "yes", "NA", "N/A", "null", "None", "Nan", "-nan", "inf"),
    *(
        "2024-13-05 00:00:00",
        "2024-01-05 24:00",
        "2024-01-05 ",
        "20240105",
        "0001-01-01 00:00:00+01:00",
        "\u0667.0",
        "2024-1-5",
    ),
]


@pytest.mark.parametrize("one", ONE_VALUE)
def test_the_texts_of_one_value_are_one(one: str) -> None:
    assert {canonical_text(text) for text in ONE_VALUE[one]} == {one}


@pytest.mark.parametrize("name", NAMES)
def test_what_may_be_a_name_stays(name: str) -> None:
    assert canonical_text(name) == name


@given(
    st.lists(st.sampled_from([text for texts in ONE_VALUE.values() for text in texts] + NAMES) | st.text(max_size=9))
)
def test_many_texts_are_as_each(texts: list[str]) -> None:
    expected = [canonical_text(text) for text in texts]
    assert [canonical_text(text) for text in expected] == expected
    column = pl.Series("a", texts, dtype=pl.String)
    assert canonical_texts(column).to_list() == expected
    many = pl.concat([column, pl.Series("a", ["x"] * 200)])  # which goes by Arrow
    assert canonical_texts(many).to_list() == [*expected, *["x"] * 200]
    assert column.to_list() == texts


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pl.Series([7.0, float("nan"), None, -0.0, 0.5]), ["7", "", "", "0", "0.5"]),
        (pl.Series([7.0, 2.0**24], dtype=pl.Float32), ["7", "16777216"]),
        (pl.Series([2**63, 7], dtype=pl.UInt64), ["9223372036854775808", "7"]),
        (pl.Series([True, None, False]), ["true", "", "false"]),
        (pl.Series([Decimal("7.00"), None]), ["7", ""]),
        (pl.Series([datetime.datetime(2024, 1, 5), None]).dt.replace_time_zone("Europe/Berlin"),
         ["2024-01-04 23:00:00", ""]),
        (pl.Series([datetime.datetime(2024, 1, 5)]).cast(pl.Datetime("ms")), ["2024-01-05"]),
        (pl.Series([datetime.datetime(2024, 1, 5)]).cast(pl.Datetime("ns")), ["2024-01-05"]),
        (pl.Series(["b", None, "a"], dtype=pl.Categorical), ["b", "", "a"]),
        (pl.Series([None, None]), ["", ""]),
    ],
)  # fmt: skip
def test_columns_of_every_type(column: pl.Series, expected: list[str]) -> None:
    assert canonical_texts(as_text(column, "x")).to_list() == expected


def load(path: Path, text: str, name: str) -> tuple[str, list[list[int]], list[list[str]]]:
    (path / name).write_text(text)
    dataset = load_dataset(path / name, cache_dir=path / "cache")
    words = dataset.vocabulary()
    values = [words.filter(pl.col("field") == field)["value"].to_list() for field in dataset.field_names]
    return dataset.fingerprint, dataset.ids.tolist(), values


# The same table as every version before read it.
ROWS = "click,a,b,c\n" + "".join(f"{n % 2},{n * n % 7}.0,{n % 3 == 0!s},v{n % 5}\n" for n in range(40))
FINGERPRINT = "a0d9fa539dff97985a1bfb1547a04b73506ab76f2be22ab00c7d1581c349a2f5"


def test_data_of_one_text_a_value_are_what_they_were(tmp_path: Path) -> None:
    fingerprint, ids, values = load(tmp_path, ROWS, "own.csv")
    assert fingerprint == FINGERPRINT
    assert values == [["2.0", "1.0", "4.0", "0.0"], ["False", "True"], ["v0", "v1", "v2", "v3", "v4"]]
    assert np.array(ids).sum(0).tolist() == [51, 14, 80]


def test_data_of_several_texts_a_value_are_encoded_as_those_of_one(tmp_path: Path) -> None:
    several = ROWS.replace("4.0,True", "4,true", 2).replace("2.0,F", "2.00,F", 1)
    fingerprint, ids, values = load(tmp_path, several, "several.csv")
    _, expected, _ = load(tmp_path, ROWS.replace(".0,T", ",t").replace(".0,F", ",f"), "one.csv")
    assert ids == expected
    assert values[:2] == [["2", "1", "4", "0"], ["false", "true"]]
    assert load(tmp_path, several, "several.csv")[0] == fingerprint  # from the cache


def test_what_was_encoded_with_a_text_each_is_encoded_again_as_another_table(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("click,a\n0,7\n1,7.0\n1,8\n")
    first = load_dataset(tmp_path / "own.csv", cache_dir=tmp_path / "cache")
    assert first.ids[:, 0].tolist() == [0, 0, 1]
    # Which earlier versions gave it, with three values.
    assert first.fingerprint != "9b9997c20289e0f486b71ffb5607c22178466db68bee149059930d7442064f83"
    assert first.folder is not None
    meta = first.folder / "meta.json"
    whole = meta.read_text()
    meta.write_text(whole.replace('"texts": 1,', ""))  # as they wrote it
    assert load_dataset(tmp_path / "own.csv", cache_dir=tmp_path / "cache").fingerprint == first.fingerprint
    assert meta.read_text() == whole
