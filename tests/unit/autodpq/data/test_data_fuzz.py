"""Files made by chance: each is refused in one line of our own, or is loaded as what it says."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fuzzing import spliced

from autodpq.data import load_dataset, split_dataset
from autodpq.errors import AutoDPQError

Fuzzer = Callable[[Path, st.DataObject], None]

TEXT = "click,part,when,a,b\n" + "".join(f"{n % 2},{n // 2 % 3},{n},v{n % 5},{n * n % 7}\n" for n in range(24))
BEGINNINGS = [
    b"",
    b"click,a\n",
    b"click,a\n0,u\n1,v\n",
    b"\xef\xbb\xbfclick,a\n",
    b"PAR1",
    b"ARROW1\0\0",
    b"\x1f\x8b\x08",
    b"click",
]
WIDTHS = [
    *(pa.bool_(), pa.int8(), pa.uint16(), pa.int32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()),
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"), pa.duration("ms")),
    *(pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns", "UTC")),
    *(pa.timestamp("us", "Europe/Berlin"), pa.decimal128(38, 4), pa.decimal256(76, 70), pa.binary(3)),
]
WORDS = st.sampled_from(["", "0", "1", "train", "2024-05-31", "262144-01-01", "-1", "9" * 30, "1e3", '"', ",", "nan"])
TEXTS = WORDS | st.text(max_size=6)
NAMES = st.sampled_from(["a", "a.b", "part", "x", "list.element"])
ODD_NAMES = st.sampled_from(["click", " ", '"', "\n", "\0"]) | st.text(max_size=4)
PIECES = [b",", b"\n", b"\r", b'"', b"", b"0", b"2", b"\0", b"\xff", b"::"]


def check_loaded(path: Path, content: bytes, load: Callable[..., Any] = load_dataset, **options: Any) -> None:
    path.write_bytes(content)
    try:
        dataset = load(path, **options)
    except AutoDPQError as error:
        message = str(error)
        assert str(path) in message and len(message.splitlines()) == 1 and message.encode()
        return
    assert set(dataset.labels.tolist()) == {0, 1}
    words = dataset.vocabulary()
    for column, name in enumerate(dataset.field_names):
        assert dataset.ids[:, column].max() < len(words.filter(pl.col("field") == name)) == len(dataset.counts[column])
    try:
        split_dataset(dataset, 0)
    except AutoDPQError as error:
        assert f"{dataset.name!r}" in str(error) and len(str(error).splitlines()) == 1
    shutil.rmtree(dataset.folder)


def altered(data: st.DataObject, content: bytes) -> bytes:
    """Spliced, or all the rest cut off at a place."""
    return spliced(data, content, PIECES, [-1] * 5 + [0, 1, 40, len(content)])


def in_parquet(table: pa.Table, **how: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **how)
    return file.getvalue()


def roles(data: st.DataObject) -> dict[str, str]:
    drawn = data.draw(st.sampled_from([{}, {"split_column": "part"}, {"time_column": "when"}]))
    return dict(drawn)


def check_any_bytes(folder: Path, data: st.DataObject) -> None:
    content = data.draw(st.sampled_from(BEGINNINGS)) + data.draw(st.binary(max_size=300))
    kind = data.draw(st.sampled_from([".csv", ".csv.gz", ".parquet", ".arrow", "compressed"]))
    if kind == "compressed":
        kind, content = ".csv.gz", gzip.compress(content)
    check_loaded(folder / f"own{kind}", content)


def check_altered_text(folder: Path, data: st.DataObject) -> None:
    check_loaded(folder / "own.csv", altered(data, TEXT.encode()), **roles(data))


def check_altered_gzip(folder: Path, data: st.DataObject) -> None:
    check_loaded(folder / "own.csv.gz", altered(data, gzip.compress(TEXT.encode(), mtime=0)), **roles(data))


def check_altered_parquet(folder: Path, data: st.DataObject) -> None:
    frame = pl.read_csv(TEXT.encode()).with_columns(pl.col("a").cast(pl.Categorical), day=pl.col("when").cast(pl.Date))
    how = data.draw(st.sampled_from([{"compression": "none"}, {"use_dictionary": False}, {"store_schema": False}, {}]))
    check_loaded(folder / "own.parquet", altered(data, in_parquet(frame.to_arrow(), **how)), **roles(data))


def check_altered_arrow(folder: Path, data: st.DataObject) -> None:
    frame = pl.read_csv(TEXT.encode()).with_columns(pl.col("a").cast(pl.Categorical), half=pl.col("when") / 2)
    table, file = frame.to_arrow(), io.BytesIO()
    with data.draw(st.sampled_from([pa.ipc.new_file, pa.ipc.new_stream]))(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=data.draw(st.sampled_from([5, 24])))
    check_loaded(folder / "own.arrow", altered(data, file.getvalue()), **roles(data))


def drawn_column(data: st.DataObject, n_rows: int) -> pa.Array:
    """A column of any type; of those of fixed width, of any bits."""
    kind = data.draw(st.sampled_from(["width", "text", "bytes", "dictionary", "list", "struct", "null", "label"]))
    missing = data.draw(st.booleans())
    if kind == "width":
        dtype = data.draw(st.sampled_from(WIDTHS))
        n_bytes = (n_rows * dtype.bit_width + 7) // 8
        extremes = st.sampled_from([bytes(n_bytes), b"\xff" * n_bytes, b"\x01" + bytes(n_bytes - 1)])
        content = data.draw(extremes | st.binary(min_size=n_bytes, max_size=n_bytes))
        validity = pa.py_buffer(data.draw(st.binary(min_size=1, max_size=1))) if missing else None
        return pa.Array.from_buffers(dtype, n_rows, [validity, pa.py_buffer(content)])
    if kind == "bytes":  # as text, of which Arrow takes the writer's word
        values = pa.array(data.draw(st.lists(st.binary(max_size=3), min_size=n_rows, max_size=n_rows)), pa.binary())
        return values.view(data.draw(st.sampled_from([pa.string(), pa.binary()])))
    if kind == "label":
        return pa.array([n % 2 for n in range(n_rows)], data.draw(st.sampled_from([pa.int8(), pa.float64()])))
    if kind == "null":
        return pa.nulls(n_rows)
    values = pa.array(data.draw(st.lists(TEXTS | st.none() if missing else TEXTS, min_size=n_rows, max_size=n_rows)))
    values = values.cast(data.draw(st.sampled_from([pa.string(), pa.large_string(), pa.string_view()])))
    if kind == "dictionary":
        return values.cast(pa.string()).dictionary_encode()
    if kind == "list":
        return pa.ListArray.from_arrays(pa.array(range(n_rows + 1), pa.int32()), values)
    return pa.StructArray.from_arrays([values], ["x"]) if kind == "struct" else values


def check_any_table(folder: Path, data: st.DataObject) -> None:
    n_rows, odd = data.draw(st.integers(2, 6)), data.draw(st.integers(0, 3)) == 0
    names = ["click", *data.draw(st.lists(ODD_NAMES if odd else NAMES, min_size=1, max_size=4, unique=not odd))]
    label = [n % 2 for n in range(n_rows)]
    role = data.draw(st.sampled_from(["label", "split_column", "time_column", ""]))
    options = {role: data.draw(st.sampled_from(names[1:]))} if role else {}
    if data.draw(st.booleans()):
        try:
            columns = [pa.array(label), *(drawn_column(data, n_rows) for _ in names[1:])]
            content = in_parquet(pa.Table.from_arrays(columns, names))
        except (pa.ArrowException, UnicodeError):
            return  # no one can write it either
        check_loaded(folder / "own.parquet", content, **options)
        return
    file = io.StringIO()
    how = {"quoting": data.draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))}
    if odd:
        how["delimiter"] = data.draw(st.sampled_from(",;\t"))
    rows = [[number, *data.draw(st.lists(TEXTS, min_size=len(names) - 1, max_size=len(names) - 1))] for number in label]
    csv.writer(file, **how).writerows([names, *rows])
    check_loaded(folder / "own.csv", file.getvalue().encode(), **options)


def check_altered_archive(folder: Path, data: st.DataObject) -> None:
    file, method = (
        io.BytesIO(),
        data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])),
    )
    ratings = "".join(f"1::{10 + n % 2}::{n % 5 + 1}::{n}\n" for n in range(12))
    members = {"ratings": ratings, "users": "1::F::1::10::48067\n", "movies": "10::A (1995)::X\n11::B (1999)::Y\n"}
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(f"ml-1m/{name}.dat"), text, method)

    def load(path: Path) -> Any:
        return load_dataset("movielens1m", data_dir=path.parent)

    check_loaded(folder / "ml-1m.zip", altered(data, file.getvalue()), load)


FUZZERS = [
    *(check_any_bytes, check_altered_text, check_altered_gzip, check_altered_parquet, check_altered_arrow),
    check_any_table,
    check_altered_archive,
]


@pytest.mark.parametrize("check", FUZZERS)
@given(data=st.data())
def test_files_made_by_chance_are_errors_of_ours(check: Fuzzer, tmp_path: Path, data: st.DataObject) -> None:
    check(tmp_path, data)


@pytest.mark.slow
@pytest.mark.parametrize("check", FUZZERS)
@settings(max_examples=10_000)
@given(data=st.data())
def test_files_made_by_chance_ten_thousand_times(check: Fuzzer, tmp_path: Path, data: st.DataObject) -> None:
    check(tmp_path, data)
