from __future__ import annotations

import gzip
import pickle
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.data import EncodedDataset, load_dataset, split_dataset
from autodpq.data.readers.columns import ColumnReader, dates
from autodpq.data.readers.text import read_header
from autodpq.data.source import select_fields
from autodpq.data.values import canonical_text
from autodpq.errors import AutoDPQError

Write = Callable[..., Path]

TEXT = "click,city,device\n0,Bonn,1\n1,,2\n0,Bonn,\n1,Köln,2\n"


def decoded(dataset: EncodedDataset) -> dict[str, list[str]]:
    words = dataset.vocabulary()
    return {
        name: words.filter(pl.col("field") == name)["value"].gather(dataset.ids[:, column]).to_list()
        for column, name in enumerate(dataset.field_names)
    }


@pytest.mark.parametrize("name", ["own.csv", "own.csv.gz", "OWN.CSV"])
def test_every_column_but_the_label_is_a_field(write_table: Write, name: str) -> None:
    dataset = load_dataset(write_table(TEXT, name))
    assert dataset.name.lower() == "own"
    assert decoded(dataset) == {"city": ["Bonn", "", "Bonn", "Köln"], "device": ["1", "2", "", "2"]}
    assert dataset.labels.tolist() == [0, 1, 0, 1]
    assert dataset.time is None
    assert dataset.split_column is None


def test_quotes_a_byte_order_mark_and_other_line_ends(write_table: Write) -> None:
    path = write_table(b'\xef\xbb\xbfclick,"the city"\r\n1,"Bonn, north"\r\n0,"say ""x"""\r\n')
    assert decoded(load_dataset(path)) == {"the city": ["Bonn, north", 'say "x"']}


def test_parquet_columns_of_every_kind(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "click": [True, False, True],
            "a.b": [3, None, 3],
            "score": [0.5, float("nan"), 2.0],
            "word": pl.Series(["x", "y", None], dtype=pl.Categorical),
            "day": [date(2024, 5, 31), None, date(2024, 6, 1)],
        }
    )
    frame.write_parquet(tmp_path / "own.parquet")
    assert decoded(load_dataset(tmp_path / "own.parquet")) == {
        "a.b": ["3", "", "3"],
        "score": ["[-inf, 2)", "", "[2, inf)"],
        "word": ["x", "y", ""],
        "day": ["2024-05-31", "", "2024-06-01"],
    }


def test_csv_and_parquet_of_the_same_table_give_the_same_ids(write_table: Write, tmp_path: Path) -> None:
    text = "click,a,b\n" + "".join(f"{n % 2},{n % 11},v{n * n % 7}\n" for n in range(100))
    path = write_table(text)
    pl.read_csv(path).write_parquet(tmp_path / "own.parquet")
    one, other = load_dataset(path), load_dataset(tmp_path / "own.parquet")
    assert one.ids.tolist() == other.ids.tolist()
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    "values",
    [
        ["0", "1"],
        ["0.0", "1.0"],
        ["false", "true"],
        ["False", "True"],
        ["FALSE", "TRUE"],
        ["no", "Yes"],
        ["N", "y"],
        ["f", "t"],
    ],
)
def test_labels_may_be_spelt_in_some_ways(write_table: Write, values: list[str]) -> None:
    dataset = load_dataset(write_table(f"y,a\n{values[1]},u\n{values[0]},v\n"), label="y")
    assert dataset.labels.tolist() == [1, 0]


def test_split_and_time_columns_are_no_fields(write_table: Write) -> None:
    parts = ["train", "valid", "test", "0", "1", "2", "validation", "val"]
    rows = [f"{n % 2},{part},{n},{100 - n}" for n, part in enumerate(parts * 2)]
    path = write_table("\n".join(["click,part,value,when", *rows]))
    dataset = load_dataset(path, split_column="part", time_column="when")
    assert dataset.field_names == ("value",)
    assert dataset.split_column is not None
    assert dataset.split_column.tolist() == [0, 1, 2, 0, 1, 2, 1, 1] * 2
    assert dataset.time is not None
    assert dataset.time.tolist() == [100 - n for n in range(16)]
    assert split_dataset(dataset, 1).test.tolist() == [2, 5, 10, 13]
    assert load_dataset(path, exclude=["part", "value"]).field_names == ("when",)


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Train", "validation", "test"), ("a", "b", "c")])
def test_files_named_after_the_parts_of_a_split_are_these_parts(tmp_path: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        users = [f"{number} {n}" for n in range(2 * number + 2)]
        frame = pl.DataFrame({"click": [0, 1] * (number + 1), "user": users})
        frame.write_parquet(tmp_path / f"{name}.parquet")
    dataset = load_dataset(tmp_path, cache_dir=tmp_path / "cache")
    assert dataset.field_names == ("user",)
    if names[0] == "a":
        assert dataset.split_column is None
        return
    assert dataset.split_column is not None and len(dataset) == 12
    assert [int(user.split()[0]) for user in decoded(dataset)["user"]] == dataset.split_column.tolist()


def test_a_column_of_the_files_says_more_than_their_names(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        pl.DataFrame({"click": [0, 1], "split": ["u", "v"]}).write_parquet(tmp_path / f"{name}.parquet")
    dataset = load_dataset(tmp_path, cache_dir=tmp_path / "cache")
    assert dataset.split_column is None and dataset.field_names == ("split",)


@pytest.mark.parametrize("times", [
    ["2024-05-31", "2024-06-01"],
    ["2024-05-31 12:30", "2024-05-31 12:31"],
    ["2024-05-31 12:30:00", "2024-05-31 12:30:00.25"],
    ["2024-05-31T12:30:00Z", "2024-05-31T12:30:01+00:00"],
    ["2024-05-31T12:30:00+02:00", "2024-05-31T12:30:00-05:00", "2024-05-31T12:30:00"],
])  # fmt: skip
def test_times_may_be_dates(write_table: Write, times: list[str]) -> None:
    rows = "".join(f"{n % 2},a,{time}\n" for n, time in enumerate(times))
    dataset = load_dataset(write_table(f"click,field,when\n{rows}"), time_column="when")
    assert dataset.time is not None
    moments = [datetime.fromisoformat(time.replace(".25", ".250")) for time in times]
    expected = [(moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() for moment in moments]
    assert dataset.time.tolist() == [round(seconds * 1e6) for seconds in expected]


@pytest.mark.parametrize(
    ("times", "order"),
    [
        (["881250949.0", "881250948.0", "881250950"], [1, 0, 2]),
        (["881250949.5", "881250949", "881250949.25"], [1, 2, 0]),
        (["8.81250949e8", "8.81250948e+08", "9e8"], [1, 0, 2]),
        (["2024/05/31", "2024/5/30", "2024.06.01"], [1, 0, 2]),
        (["2024/05/31 12:30", "2024/05/31 12:29:59", "2024-05-31 12:30:01"], [1, 0, 2]),
        (["2024-05-31 12:30:00 UTC", "2024-05-31 12:30:00+0200", "2024-05-31 12:30:00-05"], [1, 0, 2]),
        (["-3", "-4.5", "2"], [1, 0, 2]),
    ],
)
def test_whatever_has_one_order_is_a_time(write_table: Write, times: list[str], order: list[int]) -> None:
    rows = "".join(f"{n % 2},a,{time}\n" for n, time in enumerate(times))
    dataset = load_dataset(write_table(f"click,field,when\n{rows}"), time_column="when")
    assert dataset.time is not None and dataset.time.argsort(kind="stable").tolist() == order


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["%Y-%m-%d %H:%M:%S", "%Y/%m/%dT%H:%M:%S", "%Y.%m.%d %H:%M:%S.%f"]),
    st.sampled_from(["+{:02}:{:02}", "-{:02}{:02}", " +{:02}{:02}", " -{:02}:{:02}"]),
)
def test_an_offset_is_taken_off(moment: datetime, minutes: int, form: str, zone: str) -> None:
    hours, rest = divmod(abs(minutes), 60)
    text = moment.strftime(form) + zone.format(hours, rest)
    east = timedelta(minutes=abs(minutes) * (1 if "+" in zone else -1))
    exact = moment if "%f" in form else moment.replace(microsecond=0)
    assert dates(pl.Series([text])).to_list() == [exact - east]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.sampled_from(["", ".0", ".", ".000"]))
def test_whole_numbers_stay_exact_as_times(numbers: list[int], end: str) -> None:
    found = ColumnReader("own.csv").time(pl.Series("t", [f"{number}{end}" for number in numbers]))
    assert found.dtype == np.int64 and found.tolist() == numbers


@pytest.mark.parametrize(
    "kind", [pl.Date, pl.Duration("ms"), pl.Datetime("ms"), pl.Datetime("ns", "Europe/Berlin"), pl.Int32]
)
def test_times_of_parquet(tmp_path: Path, kind: Any) -> None:
    frame = pl.DataFrame({"click": [0, 1], "a": ["u", "v"], "when": pl.Series([20_000, 20_001]).cast(kind)})
    frame.write_parquet(tmp_path / "own.parquet")
    dataset = load_dataset(tmp_path / "own.parquet", time_column="when")
    assert dataset.time is not None
    step = int(dataset.time[1] - dataset.time[0])
    steps = {"Date": 86_400_000_000, "Int32": 1, "Duration(time_unit='ms')": 1}
    assert step == steps.get(str(kind), 1000 if "ms" in str(kind) else 0)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_texts_that_stand_for_a_missing_value(tmp_path: Path, suffix: str) -> None:
    rows = {
        "click": [0, 1, 0, 1],
        "price": ["1.5", "-", "2.5", "NA"],
        "code": [-1.0, 3.0, 5.0, 3.0],
        "town": ["NA", "Bonn", "", "-"],
    }
    frame = pl.DataFrame(rows)
    if suffix == "csv":
        frame.write_csv(tmp_path / "own.csv")
    else:
        frame.write_parquet(tmp_path / "own.parquet")
    path, numeric = tmp_path / f"own.{suffix}", ["price"] if suffix == "parquet" else []
    dataset = load_dataset(path, missing=["NA", "-", "-1"], numeric=numeric)
    found = decoded(dataset)
    assert found["price"] == ["[-inf, 2.5)", "", "[2.5, inf)", ""] and found["town"] == ["", "Bonn", "", ""]
    assert [canonical_text(value) for value in found["code"]] == ["", "3", "5", "3"]
    assert dataset.missing == ("-", "-1", "NA")
    again = load_dataset(path, missing=["-1", "-", "NA"], numeric=numeric)
    assert again.fingerprint == dataset.fingerprint and again.missing == dataset.missing  # as the cache keeps it
    plain = load_dataset(path)
    assert plain.missing == () and plain.fingerprint == load_dataset(path, missing=[""]).fingerprint
    assert plain.fingerprint != dataset.fingerprint


def test_a_weight_column_is_no_field(write_table: Write) -> None:
    text = "click,a,w,b\n1,u,2.5,x\n0,v,0,x\n0,u,1,y\n1,v,3e-1,y\n"
    dataset = load_dataset(write_table(text), weight_column="w")
    assert dataset.field_names == ("a", "b")
    assert dataset.weights is not None and dataset.weights.tolist() == [2.5, 0.0, 1.0, 0.3]
    again = load_dataset(write_table(text), weight_column="w")  # as the cache keeps it
    assert again.weights is not None and again.weights.tolist() == dataset.weights.tolist()
    rows = dataset.rows(np.array([0, 3, 1]))
    assert rows.weights is not None and rows.weights.tolist() == [2.5, 0.3, 0.0]
    assert pickle.loads(pickle.dumps(rows)).weights.tolist() == rows.in_memory().weights.tolist() == [2.5, 0.3, 0.0]
    assert any(
        "1 of them by none; the click rate, 0.5000 by rows, is 0.7368 by weight" in note for note in dataset.notes()
    )
    plain = load_dataset(write_table(text))
    assert plain.weights is None and plain.rows(np.array([0])).weights is None
    assert plain.field_names == ("a", "w", "b") and plain.fingerprint != dataset.fingerprint


BAD_TEXT: list[tuple[str | bytes, dict[str, Any], str]] = [
    ("", {}, r"the file is empty"),
    ("click,a\n", {}, r"no rows"),
    ("click,a", {}, r"no rows"),
    ("click\n0\n1\n", {}, r"only one column is found; values must be separated by commas"),
    ("1 3:1 7:0.5\n0 4:1\n", {}, r"this is LIBSVM's format, which has no fields; write a table with a column for each"),
    ("click,a,a\n0,u,v\n1,u,v\n", {}, r"two columns are called 'a'; rename one"),
    ("click,,a\n0,u,v\n1,u,v\n", {}, r"column 2 has no name"),
    ("Click,a\n0,u\n1,v\n", {}, r"no column 'click', which 'label' names; did you mean 'Click'\?"),
    (TEXT, {"label": "bought"}, r"no column 'bought', which 'label' names; known: click, city, device"),
    (TEXT, {"split_column": "prt"}, r"no column 'prt', which 'split_column' names"),
    (TEXT, {"time_column": "when"}, r"no column 'when', which 'time_column' names"),
    (TEXT, {"time_column": "click"}, r"column 'click' is the label; it cannot be the split or the time too"),
    (TEXT, {"weight_column": "w"}, r"no column 'w', which 'weight_column' names"),
    (TEXT, {"weight_column": "click"}, r"column 'click' is the label; it cannot be the weight too"),
    (TEXT, {"weight_column": "city", "time_column": "city"}, r"column 'city' is the time; it cannot be the weight too"),
    (TEXT, {"weight_column": "city", "fields": ["city"]}, r"column 'city' is the weight; it cannot be a field too"),
    ("click,a,w\n1,u,1\n0,v,-0.5\n", {"weight_column": "w"}, r", row 2, column 'w': '-0.5'; a weight must be a number"),
    ("click,a,w\n1,u,\n0,v,1\n", {"weight_column": "w"}, r", row 1, column 'w': the value is missing; a weight must"),
    ("click,a,w\n1,u,1\n0,v,nan\n", {"weight_column": "w"}, r", row 2, column 'w': 'nan'; a weight must be a number"),
    ("click,a,w\n1,u,inf\n0,v,1\n", {"weight_column": "w"}, r", row 1, column 'w': 'inf'; a weight must be a number"),
    ("click,a,w\n1,u,1e31\n0,v,1\n", {"weight_column": "w"}, r", row 1, column 'w': '1e31'; a weight must be a number"),
    ("click,a,w\n1,u,much\n0,v,1\n", {"weight_column": "w"}, r", row 1, column 'w': 'much'; a weight must be a number"),
    ("click,a,w\n1,u,0\n0,v,0\n", {"weight_column": "w"}, r"every weight is 0, so that no row counts; give"),
    ("click,a,w\n1,u,0\n0,v,2\n", {"weight_column": "w"}, r"rows of a weight above 0: every label is 0; both 0 and 1"),
    (TEXT, {"fields": ["click"]}, r"column 'click' is the label; it cannot be a field too"),
    (TEXT, {"time_column": "city", "fields": ["city"]}, r"column 'city' is the time; it cannot be a field too"),
    (TEXT, {"split_column": "city", "numeric": ["city"]}, r"column 'city' is the split; it cannot be a field too"),
    (TEXT, {"fields": ["city", "city"]}, r"field 'city' is given twice in 'fields'"),
    (TEXT, {"fields": ["town", "city"]}, r"no field 'town'"),
    (TEXT, {"exclude": ["devices"]}, r"no field 'devices'; did you mean 'device'\?"),
    (TEXT, {"exclude": ["city", "device"]}, r"no field is left"),
    ("click,a\n1,u\n1,v\n", {}, r"every label is 1; both 0 and 1 are needed"),
    ("click,a\n1,u\n,v\n", {}, r", row 2, column 'click': the value is missing; a label must be 0 or 1"),
    ("click,a\n1,u\nNaN,v\n", {}, r", row 2, column 'click': 'NaN'; a label must be 0 or 1"),
    ("click,a\n1,u\n0,v\n2,w\n", {}, r", row 3, column 'click': '2'; a label must be 0 or 1"),
    ("click,a\n1,u\n0,v,w\n", {}, r", line 3: 3 columns where 2 are expected"),
    ("click,a\n1,u\n0\n", {}, r", line 3: 1 columns where 2 are expected"),
    (b"click,a\n1,u\n0,\xff\n", {}, r", line 3, column 'a': not UTF-8 text"),
    (b"click,\xff\n1,u\n0,v\n", {}, r", line 1: not UTF-8 text"),
    ('click,a\n1,"u\n0,v\n1,w\n', {}, r", row 1, column 'a': a line break; is a quote not closed\?"),
    (b"PAR1,click\n", {}, r"this is a parquet file, not comma-separated text"),
    (b"PK\x03\x04,click\n", {}, r"this is a zip file, not comma-separated text"),
    ("click,a,p\n1,u,train\n0,v,dev\n", {"split_column": "p"}, r", row 2, column 'p': 'dev'; a split must be train"),
    ("click,a,t\n1,u,5\n0,v,\n", {"time_column": "t"}, r", row 2, column 't': the value is missing; a number, or"),
    ("click,a,t\n1,u,5\n0,v,2024-01-01\n", {"time_column": "t"}, r", row 2, column 't': '2024-01-01'; a number"),
    ("click,a,t\n1,u,soon\n0,v,5\n", {"time_column": "t"}, r", row 1, column 't': 'soon'; a number, or a date"),
    (
        "click,a,t\n1,u,9\n0,v,9223372036854775808\n",
        {"time_column": "t"},
        r", row 2, column 't': '9223372036854775808'",
    ),
    (" \n", {}, r"the file is empty, or begins with an empty line; a header line is needed"),
    ("click,a\n\n\n", {}, r"no rows"),
    ("click|a,b\n0|u,v\n1|u,v\n", {}, r"no column 'click', which 'label' names; did you mean 'click\|a'\?"),
    ("click,a\n0;u\n1;v\n", {}, r", line 2: 1 columns where 2 are expected; correct or remove the line"),
    ("click,a\n\n\r\n1,u\n\n0\n", {}, r", line 6: 1 columns where 2 are expected"),
    ("click,a\n1,u\n0,v,Empty CSV file\n", {}, r", line 3: 3 columns where 2 are expected"),
    ("click,click\n0,1\n1,0\n", {}, r"two columns are called 'click'; rename one"),
    ("click,a\0\n0,u\n1,v\n", {}, r"column 2 is called 'a\\x00', with a control character; rename it"),
    ('click,"a\n0,u\n1,v\n', {}, r", line 1: not a header of comma-separated names .*; is a quote not closed\?"),
    ("click,a\r0,u\r1,v\r", {}, r", line 1: a carriage return within the line; save the file with line feeds"),
    ("click," + "a" * 200_000 + "\n0,u\n", {}, r", line 1: not a header of comma-separated names \(field larger"),
    ("click,a\n1,u\n-1,v\n", {}, r", row 2, column 'click': '-1'; a label must be 0 or 1"),
    ("click,a\n1,u\n 0,v\n", {}, r", row 2, column 'click': ' 0'; a label must be 0 or 1"),
    ("click,a\n1,u\n\nmaybe,v\n", {}, r", row 2, column 'click': 'maybe'; a label must be 0 or 1"),
    (
        b"a,click,b\nu,1,x\n\nu,0,\xff\n",
        {"fields": ["b"]},
        r", line 4, column 'b': not UTF-8 text; save the file as UTF-8",
    ),
    (b"a,b,click\nu,v,1\nu,v,\xff\n", {}, r", line 3, column 'click': not UTF-8 text"),
    ("click,a\n0,u\n1,v\n".encode("utf-16"), {}, r", line 1: not UTF-8 text"),
    (b"\x1f\x8b\x08,click\n", {}, r"this is a gzip file, not comma-separated text; name it so"),
]


@pytest.mark.parametrize(("text", "options", "message"), BAD_TEXT)
def test_files_that_cannot_be_used(
    write_table: Write, cache: Path, text: str | bytes, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(AutoDPQError, match=rf"own\.csv.*{message}") as caught:
        load_dataset(write_table(text), **options)
    assert "\n" not in str(caught.value)
    assert list((cache / "datasets").iterdir()) == []


def test_lines_that_do_not_end(write_table: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autodpq.data.readers.text._BLOCK_BYTES", 1 << 20)
    for text, message in (
        ("click,a," + "b" * (2 << 20), ", line 1: longer than 1 MiB; a header of comma-separated names is needed"),
        (
            'click,a\n0,"u\n' + "0,u\n" * (1 << 20),
            ": a row is longer than 1 MiB; is a quote not closed, or this no text",
        ),
    ):
        for name in ("own.csv", "own.csv.gz"):
            with pytest.raises(AutoDPQError, match=rf"{re.escape(name)}{message}"):
                load_dataset(write_table(text, name))


def test_values_that_look_odd_are_values(write_table: Write, tmp_path: Path) -> None:
    large = [2**31, 2**32, 2**63, 2**64 - 1]
    text = "click,one,none,large,nul\n" + "".join(f"{n % 2},same,,{10**20 + n},a\0\n" for n in range(4))
    words = decoded(load_dataset(write_table(text)))
    assert words == {
        "one": ["same"] * 4, "none": [""] * 4, "large": [str(10**20 + n) for n in range(4)], "nul": ["a\0"] * 4,
    }  # fmt: skip
    pl.DataFrame({"click": [0, 1, 0, 1], "a": large}, schema_overrides={"a": pl.UInt64}).write_parquet(
        tmp_path / "own.parquet"
    )
    assert decoded(load_dataset(tmp_path / "own.parquet")) == {"a": [str(number) for number in large]}


def test_hundreds_of_fields(write_table: Write) -> None:
    names = [f"f{n}" for n in range(300)]
    text = "\n".join([f"click,{','.join(names)}", *(f"{n % 2}" + f",{n}" * 300 for n in range(4))])
    assert load_dataset(write_table(text)).field_names == tuple(names)
    with pytest.raises(AutoDPQError, match=r"own\.csv, line 6: 302 columns where 301 are expected"):
        load_dataset(write_table(text + "\n1" + ",u" * 301))
    with pytest.raises(AutoDPQError, match=r"own\.csv: two columns are called 'f7'"):
        load_dataset(write_table(text.replace("f299", "f7")))


def test_names_are_checked_in_linear_time(write_table: Write) -> None:
    names = [f"f{n}" for n in range(200_000)]  # in quadratic time, minutes
    assert read_header(write_table(",".join(names))) == names
    assert select_fields(names, names[::-1], names[:10], "made") == tuple(names[10:])


def test_rows_are_counted_over_all_batches(write_table: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autodpq.data.readers.text._BLOCK_BYTES", 1000)
    monkeypatch.setattr("autodpq.data.readers.text.BATCH_ROWS", 100)
    rows = [f"{n % 2},{n:06d}" for n in range(2000)]
    assert decoded(load_dataset(write_table("\n".join(["click,a", *rows]))))["a"] == [f"{n:06d}" for n in range(2000)]
    for broken, message in (
        ("5,x", "row 1501, column 'click': '5'"),
        ("1,x,y", "line 1502: 3 columns where 2"),
        ('1,"x\ny"', "row 1501, column 'a': a line break"),
    ):
        with pytest.raises(AutoDPQError, match=message):
            load_dataset(write_table("\n".join(["click,a", *rows[:1500], broken, *rows[1501:]])))


def test_parquet_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    pl.DataFrame({"click": [0, 1] * 500, "a": [str(n) for n in range(1000)]}).write_parquet(path)
    whole = path.read_bytes()
    for content in (b"", b"click,a\n0,u\n", whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(AutoDPQError, match=r"own\.parquet: this is no parquet file, or one cut short"):
            load_dataset(path)
    damaged = whole[:4] + bytes(len(whole) // 4) + whole[4 + len(whole) // 4 :]
    path.write_bytes(damaged)
    with pytest.raises(AutoDPQError, match=r"own\.parquet"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"click": [0, None], "a": ["u", "v"]}, "row 2, column 'click': the value is missing"),
        ({"click": [0.0, float("nan")], "a": ["u", "v"]}, "row 2, column 'click': the value is missing"),
        ({"click": [0.0, 0.5], "a": ["u", "v"]}, r"row 2, column 'click': '0\.5'; a label must be 0 or 1"),
        ({"click": [0, 1], "a": [[1], [2]]}, r"column 'a': values of type List\(Int64\) are no categories; exclude it"),
        ({"click": [0, 1], "a": [b"u", b"v"]}, r"column 'a': values of type Binary are no categories"),
        ({"click": [], "a": []}, "there are no rows in it"),
        ({"click": [0, 1]}, "no field is left"),
    ],
)
def test_parquet_tables_that_cannot_be_used(tmp_path: Path, columns: dict[str, list[Any]], message: str) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "own.parquet")
    with pytest.raises(AutoDPQError, match=rf"own\.parquet.*{message}"):
        load_dataset(tmp_path / "own.parquet")


def of_bits(kind: pa.DataType, *numbers: int) -> pa.Array:
    return pa.array(numbers, pa.int64() if kind.bit_width == 64 else pa.int32()).view(kind)


TEXT_OF_BYTES = pa.array([b"u", b"\xff"], pa.binary()).view(pa.string())
ARROW_COLUMNS: list[tuple[pa.Array, str]] = [
    (
        pa.array([{"x": 1}, None]),
        r", column 'a': values of type Struct\(\{'x': Int64\}\) are no categories; exclude it",
    ),
    (pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())), r", column 'a': values of type Map"),
    (pa.array([[[1]], [[2]]]), r", column 'a': values of type List\(List\(Int64\)\) are no categories"),
    (pa.array([b"u", b"v"], pa.binary(1)), r", column 'a': values of type Binary are no categories"),
    (pa.array([1, 2], pa.duration("s")), r", column 'a': values of type Duration.* are no categories"),
    (pa.array([1, 2]).cast(pa.decimal256(50, 2)), r", column 'a': values of type decimal256\(50, 2\) cannot be used"),
    (
        of_bits(pa.timestamp("us", "No/Where"), 0, 1),
        r", column 'a': values of type timestamp\[us, tz=No/Where\] cannot",
    ),
    (of_bits(pa.date32(), 0, 2_932_897), r", row 2, column 'a': a date outside the years 1 to 9999; correct it"),
    (of_bits(pa.date32(), -719_163, 0), r", row 1, column 'a': a date outside the years 1 to 9999"),
    (of_bits(pa.timestamp("ms"), 0, 2**62), r", row 2, column 'a': a date outside the years 1 to 9999"),
    (of_bits(pa.timestamp("us", "UTC"), -(2**63), 0), r", row 1, column 'a': a date outside the years 1 to 9999"),
    (TEXT_OF_BYTES, r", row 2, column 'a': a damaged value, or not UTF-8 text; write the file again"),
    (TEXT_OF_BYTES.dictionary_encode(), r", column 'a': a damaged value, or not UTF-8 text; write the file again"),
]


@pytest.mark.parametrize(("column", "message"), ARROW_COLUMNS)
def test_parquet_columns_that_cannot_be_used(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], column: pa.Array, message: str
) -> None:
    path = tmp_path / "own.parquet"
    pq.write_table(pa.table({"click": [0, 1], "a": column, "b": [0, 1]}), path)
    with pytest.raises(AutoDPQError, match=rf"own\.parquet{message}"):
        load_dataset(path)
    assert load_dataset(path, exclude=["a"]).field_names == ("b",)
    pq.write_table(pa.table({"click": column, "b": [0, 1]}), path)
    with pytest.raises(AutoDPQError, match=r"own\.parquet, (row \d, )?column 'click': (values of type|a d)"):
        load_dataset(path)
    assert capfd.readouterr() == ("", "")  # a panic would be told there


def test_the_row_of_a_damaged_value_is_counted_over_all_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autodpq.data.readers.arrow.BATCH_ROWS", 4)
    for column, message in (
        (pa.array([b"u"] * 9 + [b"\xff"], pa.binary()).view(pa.string()), "row 10, column 'a': a damaged value"),
        (of_bits(pa.date32(), *range(9), 2**31 - 1), "row 10, column 'a': a date outside"),
    ):
        pq.write_table(pa.table({"click": [0, 1] * 5, "a": column}), tmp_path / "own.parquet")
        with pytest.raises(AutoDPQError, match=rf"own\.parquet, {message}"):
            load_dataset(tmp_path / "own.parquet")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["click", "a", "a"], "two columns are called 'a'; rename one"),
        (["click", "", "a"], "column 2 has no name"),
        (["click", "a\nb", "c"], r"column 2 is called 'a\\nb', with a control character; rename it"),
        (["click", "a", "b\0"], r"column 3 is called 'b\\x00', with a control character; rename it"),
    ],
)
def test_names_of_parquet_that_cannot_be_used(tmp_path: Path, names: list[str], message: str) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([0, 1])] * 3, names), tmp_path / "own.parquet")
    with pytest.raises(AutoDPQError, match=rf"own\.parquet: {message}") as caught:
        load_dataset(tmp_path / "own.parquet")
    assert len(str(caught.value).splitlines()) == 1


def test_a_damaged_name_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    pq.write_table(pa.table({"click": [0, 1], "city": ["u", "v"]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"city", b"cit\xff"))
    with pytest.raises(AutoDPQError, match=r"own\.parquet: this is no parquet file, or one cut short"):
        load_dataset(path)


def test_a_compressed_table_that_is_not_whole(write_table: Write) -> None:
    rows = "".join(f"{n % 2},{n * 7919 % 10007},1\n" for n in range(5000))
    path = write_table(f"click,city,device\n{rows}", "own.csv.gz")
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content, message in (
        *((whole[:n], "the gzip file is cut short; get it again") for n in (5, 12, len(whole) // 2, len(whole) - 5)),
        (bytes(flipped), "this is no gzip file, or a damaged one; get it again"),
        (whole[:-8] + bytes(4) + whole[-4:], "this is no gzip file, or a damaged one"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
        (gzip.compress(whole, mtime=0), "this is a gzip file, not comma-separated text"),
    ):
        path.write_bytes(content)
        with pytest.raises(AutoDPQError, match=rf"own\.csv\.gz: {message}"):
            load_dataset(path)


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match=r"nnn\.csv: cannot be read: File name too long"):
        load_dataset(tmp_path / ("n" * 300 + ".csv"))
    for name, shown in (("a\nb.csv", r"a\\nb\.csv"), ("a\udcff.csv", r"a\\udcff\.csv")):
        (tmp_path / name).write_text(TEXT)
        with pytest.raises(
            AutoDPQError, match=rf"{shown}': the path has a control character, or one that is not"
        ) as caught:
            load_dataset(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1


def test_folders_and_other_kinds_of_file_are_refused(tmp_path: Path, write_table: Write) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(
        AutoDPQError, match=r"folder\.csv: there is no parquet file and no CSV in it; of other kinds give one file"
    ):
        load_dataset(tmp_path / "folder.csv")
    with pytest.raises(AutoDPQError, match=r"own\.xlsx: this kind of file cannot be read; save the sheet as CSV"):
        load_dataset(write_table("x", "own.xlsx"))
