from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from autodpq.data import EncodedDataset, dataset_spec, load_dataset
from autodpq.data.readers.files import known_file
from autodpq.errors import AutoDPQError

Write = Callable[[Path], str]


def table(n_rows: int = 60) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "click": [n % 3 % 2 for n in range(n_rows)],
            "user": [n * n % 11 for n in range(n_rows)],
            "town": [["Bonn, Süd", None, "", 'say "x"', "北京"][n % 5] for n in range(n_rows)],
            "price": [None if n % 7 == 0 else n / 8 for n in range(n_rows)],
        }
    )


def same(one: EncodedDataset, other: EncodedDataset) -> bool:
    words = one.vocabulary().equals(other.vocabulary())
    return words and np.array_equal(one.ids, other.ids) and np.array_equal(one.labels, other.labels)


def stream(path: Path) -> str:
    rows = table().to_arrow()
    with pa.ipc.new_stream(path / "own.arrow", rows.schema) as writer:
        writer.write_table(rows, max_chunksize=7)
    return str(path / "own.arrow")


def compressed(path: Path) -> str:
    table().write_ipc(path / "own.feather", compression="zstd")
    return str(path / "own.feather")


def by_pandas(path: Path) -> str:
    table().to_pandas().to_feather(path / "own.ipc")
    return str(path / "own.ipc")


def folder(path: Path) -> str:
    for start in (0, 20, 40):
        name = path / "own" / f"part-{start}.parquet"
        name.parent.mkdir(exist_ok=True)
        table()[start : start + 20].write_parquet(name)
    for name in ("_SUCCESS", ".part-0.parquet.crc"):  # as Spark leaves them
        (path / "own" / name).write_text("")
    return str(path / "own")


def pattern(path: Path) -> str:
    return f"{folder(path)}/part-*.parquet"


def deep_pattern(path: Path) -> str:
    folder(path)
    return f"{path}/**/part-*.parquet"


@pytest.mark.parametrize("write", [stream, compressed, by_pandas, folder, pattern, deep_pattern])
def test_all_kinds_of_file_give_the_same_rows(tmp_path: Path, write: Write) -> None:
    table().write_csv(tmp_path / "own.csv")
    expected = load_dataset(tmp_path / "own.csv")
    given = write(tmp_path)
    found = load_dataset(given)
    assert same(found, expected) and found.fingerprint != expected.fingerprint
    assert found.name == (tmp_path.name if write is deep_pattern else "own")
    assert dataset_spec(given).name == found.name and dataset_spec(given).threshold == 10


def test_a_file_that_changes_is_another_table(tmp_path: Path) -> None:
    given = folder(tmp_path)
    first = load_dataset(given)
    assert load_dataset(given).fingerprint == first.fingerprint
    table()[40:59].write_parquet(Path(given) / "part-40.parquet")
    second = load_dataset(given)
    assert second.fingerprint != first.fingerprint and len(second) == 59
    (Path(given) / "part-40.parquet").rename(Path(given) / "a.parquet")
    assert load_dataset(given).labels.tolist() != second.labels.tolist()


def test_folders_that_say_a_value_are_columns(tmp_path: Path) -> None:
    for number, day in enumerate(("day=2024-05-31", "day=__HIVE_DEFAULT_PARTITION__", "day=a%20b")):
        path = tmp_path / "clicks" / day / f"part={['train', 'valid', 'test'][number]}" / "x.parquet"
        path.parent.mkdir(parents=True)
        table()[20 * number : 20 * number + 20].write_parquet(path)
    dataset = load_dataset(tmp_path / "clicks", split_column="part")
    assert dataset.field_names == ("user", "town", "price", "day")
    words = dataset.vocabulary().filter(pl.col("field") == "day").sort("id")["value"]
    days = words.gather(dataset.ids[:, 3]).to_list()
    assert [days[0], days[20], days[40]] == ["2024-05-31", "", "a b"]
    assert dataset.split_column is not None and dataset.split_column[[0, 20, 40]].tolist() == [0, 1, 2]
    assert load_dataset(f"{tmp_path}/clicks/day=2*/*/*.parquet", fields=["day"]).field_names == ("day",)
    with pytest.raises(AutoDPQError, match="no field 'day'"):  # it says one thing of all rows
        load_dataset(f"{tmp_path}/clicks/day=2024-05-31/*/*.parquet", fields=["day"])
    assert load_dataset(tmp_path / "clicks", numeric=["price"], fields=["price", "part"]).binned == {"price": 2}


def test_the_index_that_pandas_writes_is_no_field(tmp_path: Path) -> None:
    frame = pd.DataFrame({"click": [0, 1, 1], "a": ["u", "v", "w"]})
    frame[frame.index != 1].to_parquet(tmp_path / "own.parquet")
    assert load_dataset(tmp_path / "own.parquet").field_names == ("a",)
    assert load_dataset(tmp_path / "own.parquet", exclude=["__index_level_0__"]).field_names == ("a",)


def test_types_that_say_the_same_may_differ_between_files(tmp_path: Path) -> None:
    frames = [
        {"click": [0, 1], "a": pl.Series([1, 2], dtype=pl.Int8), "b": [None, None], "c": ["u", "v"], "d": [0.5, 1.5]},
        {
            "click": pl.Series([0, 1], dtype=pl.UInt8),
            "a": [1, 3000],
            "b": ["x", "y"],
            "c": pl.Series(["u", "w"], dtype=pl.Categorical),
            "d": pl.Series([0.5, 2.5], dtype=pl.Float32),
        },
    ]
    for number, frame in enumerate(frames):
        pl.DataFrame(frame).select(sorted(frame, reverse=number == 1)).write_parquet(tmp_path / f"{number}.parquet")
    dataset = load_dataset(f"{tmp_path}/*.parquet")
    words = {name: set(part["value"]) for (name,), part in dataset.vocabulary().group_by("field")}
    assert {name: words[name] for name in "abc"} == {"a": {"1", "2", "3000"}, "b": {"", "x", "y"}, "c": set("uvw")}
    assert dataset.binned == {"d": 2}


@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        ({"click": [0, 1], "a": [1.0, 2.5]}, {}, r"b\.parquet, column 'a': values of type double, where .*a\.parquet "
         r"has int64; write the files with the same types, or exclude it$"),
        ({"click": [0, 1]}, {}, r"b\.parquet: column 'a' is missing, which .*a\.parquet has; write .*, or exclude it$"),
        ({"click": [0, 1], "a": [1, 2], "x": [1, 2]}, {}, r"a\.parquet: column 'x' is missing, which .*b\.parquet has"),
        ({"click": [0, 2], "a": [1, 2]}, {}, r"b\.parquet, row 2, column 'click': '2'; a label must be 0 or 1$"),
        ({"click": [0, 1], "a": [1, 2], "click ": [1, 2]}, {"label": "clicks"}, r"no column 'clicks'"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_named(
    tmp_path: Path, second: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    pl.DataFrame({"click": [0, 1], "a": [1, 2]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame(second).write_parquet(tmp_path / "b.parquet")
    for given in (tmp_path, f"{tmp_path}/*.parquet"):
        with pytest.raises(AutoDPQError, match=message) as caught:
            load_dataset(given, **options)
        assert len(str(caught.value).splitlines()) == 1
    if "x" in second:
        assert load_dataset(tmp_path, exclude=["x"]).field_names == ("a",)


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["a.arrow"], "", r"there is no parquet file and no CSV in it; of other kinds give one file$"),
        (["a.csv"], "", r"a\.csv: the file is empty"),
        ([], "", r"there is no parquet file and no CSV in it"),
        (["_a.parquet"], "", r"there is no parquet file and no CSV in it"),
        (
            ["a.parquet", "b.csv"],
            "",
            r": b\.csv is no parquet file; move it away, or give a pattern as '.*\*\.parquet'$",
        ),
        (["a.parquet", "deep/README.txt"], "", r": deep/README\.txt is no parquet file; move it away"),
        (["a.parquet", "b.arrow"], "*", r": b\.arrow is no parquet file"),
        (["a.parquet"], "b*.parquet", r"b\*\.parquet: no file matches this pattern$"),
        (
            ["clicks.csv"],
            "click.csv",
            r"click\.csv' is neither a data set nor a file; did you mean '.*/clicks\.csv'\?$",
        ),
    ],
)
def test_folders_and_patterns_that_cannot_be_used(tmp_path: Path, names: list[str], given: str, message: str) -> None:
    root = tmp_path / "root"
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    root.mkdir(exist_ok=True)
    with pytest.raises(AutoDPQError, match=message):
        load_dataset(str(root / given))


def test_files_that_are_no_arrow(tmp_path: Path) -> None:
    path = tmp_path / "own.arrow"
    table().write_ipc(path)
    whole = path.read_bytes()
    for content in (b"", b"click,a\n", whole[: len(whole) // 2], b"FEA1" + whole[4:-6] + b"\0\0FEA1"):
        path.write_bytes(content)
        with pytest.raises(AutoDPQError, match=r"own\.arrow: (this is no Arrow file|the Arrow file is damaged)[^\n]*$"):
            load_dataset(path)


def test_large_batches_of_arrow_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autodpq.data.readers.arrow.BATCH_ROWS", 8)
    table().write_ipc(tmp_path / "own.arrow")
    sizes = [batch.num_rows for _, batch in known_file(tmp_path / "own.arrow").batches(["user", "click"])]
    assert sizes == [8] * 7 + [4]


def test_a_pattern_is_a_file_where_there_is_one_of_that_name(tmp_path: Path) -> None:
    table().write_parquet(tmp_path / "[a].parquet")
    assert len(load_dataset(tmp_path / "[a].parquet")) == 60


def test_fields_and_exclude_exclude_each_other(tmp_path: Path) -> None:
    table().write_csv(tmp_path / "own.csv")
    with pytest.raises(AutoDPQError, match=r"data set 'own': 'fields' and 'exclude' are given; give one of them$"):
        load_dataset(tmp_path / "own.csv", fields=["user"], exclude=["town"])


TEXT = 'user,click,town\nu,0,Bonn\nv,1,\nu,1,"a, b"\n'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("own.txt", TEXT),
        ("own.tsv", "user\tclick\ttown\nu\t0\tBonn\nv\t1\t\nu\t1\ta, b\n"),
        ("own.tsv.gz", "user\tclick\ttown\nu\t0\tBonn\nv\t1\t\nu\t1\ta, b\n"),
        ("own.csv", "user\tclick\ttown\nu\t0\tBonn\nv\t1\t\nu\t1\ta, b\n"),
        ("own.csv", "user;click;town\nu;0;Bonn\nv;1;\nu;1;a, b\n"),
        ("own.txt", "user|click|town\nu|0|Bonn\nv|1|\nu|1|a, b\n"),
        ("own.inter", "user:token\tclick:float\ttown:token_seq\nu\t0\tBonn\nv\t1\t\nu\t1\ta, b\n"),
        ("own.csv", ',user,click,town\n0,u,0,Bonn\n1,v,1,\n2,u,1,"a, b"\n'),
    ],
)
def test_text_of_any_separator_is_the_same_table(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "plain.csv").write_text(TEXT)
    expected = load_dataset(tmp_path / "plain.csv")
    content = text.encode()
    (tmp_path / name).write_bytes(
        gzip.compress(content[:30]) + gzip.compress(content[30:]) if "gz" in name else content
    )
    assert same(load_dataset(tmp_path / name), expected)


def test_a_tab_separates_first_in_files_named_for_it(tmp_path: Path) -> None:
    (tmp_path / "own.tsv").write_text("a,b\tclick\nu,v\t0\nw\t1\n")
    assert load_dataset(tmp_path / "own.tsv").field_names == ("a,b",)


@pytest.mark.parametrize("end", [".csv", ".csv.gz"])
def test_a_folder_of_text_as_spark_writes_it(tmp_path: Path, end: str) -> None:
    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if end.endswith("gz") else text.encode())

    table().write_csv(tmp_path / "whole.csv")
    header, *lines = (tmp_path / "whole.csv").read_text().splitlines(keepends=True)
    folder = tmp_path / "own"
    write(folder / f"day=1/part-0{end}", header + "".join(lines[:20]))
    write(folder / f"day=2/part-1{end}", header)  # no rows
    write(folder / f"day=2/part-2{end}", header + "".join(lines[20:]))
    (folder / "day=2/part-3.csv").write_text("")
    (folder / "_SUCCESS").write_text("")
    (folder / "day=1/.part-0.csv.crc").write_text("")
    assert same(load_dataset(folder, exclude=["day"]), load_dataset(tmp_path / "whole.csv"))
    days = load_dataset(folder, fields=["day"])
    assert days.counts[0].tolist() == [40, 20] and known_file(folder).column_names()[-1] == "day"
    write(folder / f"day=2/part-4{end}", "".join(lines[:2]))
    with pytest.raises(
        AutoDPQError, match=r"part-4\.csv[^\n]*: column '[^\n]*' is not in both it and .*part-0[^\n]*header"
    ):
        load_dataset(folder)


def test_text_files_may_be_the_parts_of_a_split(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        table().write_csv(tmp_path / f"{part}.csv")
    found = load_dataset(tmp_path, cache_dir=tmp_path / "cache")
    assert found.split_column is not None and np.bincount(found.split_column).tolist() == [60, 60, 60]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("x.jsonl", r"polars\.read_ndjson"),
        ("x.XLSX", "save the sheet as CSV"),
        ("x.pkl", "a pickle is code that runs when it is read"),
        ("x.libfm", "write a table with a column for each field"),
        ("x.csv.zip", "unpack it"),
        ("x.orc", r"pandas\.read_orc"),
        ("x.dat", r"expected one of \.csv, \.tsv,"),
    ],
)
def test_other_kinds_are_refused_with_what_to_do(tmp_path: Path, name: str, advice: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(AutoDPQError, match=rf"{name}: this kind of file cannot be read; [^\n]*{advice}[^\n]*$"):
        load_dataset(tmp_path / name)
