from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from autodpq.data import load_dataset
from autodpq.errors import AutoDPQError


@pytest.mark.parametrize("name", ["train.gz", "train.csv", "train.csv.gz", "avazu/train.gz"])
def test_every_column_but_id_and_click_is_a_field(tmp_path: Path, avazu_text: str, name: str) -> None:
    path = tmp_path / "source" / name
    path.parent.mkdir(parents=True)
    content = avazu_text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    dataset = load_dataset("avazu", data_dir=tmp_path / "source")
    rows = [line.split(",") for line in avazu_text.splitlines()]
    assert dataset.field_names == tuple(rows[0][2:])
    assert len(dataset.field_names) == 22
    assert dataset.labels.tolist() == [int(row[1]) for row in rows[1:]]
    assert dataset.time is not None
    assert dataset.time.tolist() == [int(row[2]) for row in rows[1:]]
    words = dataset.vocabulary()
    for column, field in enumerate(dataset.field_names):
        values = words.filter(pl.col("field") == field)["value"].gather(dataset.ids[:, column])
        assert values.to_list() == [row[2 + column] for row in rows[1:]]


def test_another_file_is_refused(tmp_path: Path, avazu_text: str) -> None:
    path = tmp_path / "train.csv"
    rows = avazu_text.splitlines()
    for text, message in (
        (avazu_text.replace("device_ip", "address", 1), "column 'device_ip' is missing; this is not"),
        (avazu_text.replace("C21", "C20", 1), "two columns are called 'C20'"),
        (avazu_text.replace(",", " "), "only one column is found"),
        ("", "the file is empty"),
        ("\n".join(row for row in rows if row.split(",")[1] != "0"), "every label is 1; both 0 and 1 are needed"),
    ):
        path.write_text(text)
        with pytest.raises(AutoDPQError, match=rf"train\.csv: {message}"):
            load_dataset("avazu", data_dir=tmp_path)


def test_bad_rows_are_named(tmp_path: Path, avazu_text: str) -> None:
    lines = avazu_text.splitlines()
    path = tmp_path / "train.csv"
    for broken, message in (
        (lines[7] + ",more", r"train\.csv, line 8: 25 columns where 24 are expected"),
        (lines[7].replace(",14102100,", ",,"), r"train\.csv, row 7, column 'hour': the value is missing"),
        (lines[7].replace(",", ";"), r"train\.csv, line 8: 1 columns where 24 are expected"),
        ("6,," + lines[7].split(",", 2)[2], r"train\.csv, row 7, column 'click': the value is missing; a label must"),
        (lines[7][:-1] + "\xff", r"train\.csv, line 8, column 'C21': not UTF-8 text"),
        ("6,2," + lines[7].split(",", 2)[2], r"train\.csv, row 7, column 'click': '2'; a label must be 0 or 1"),
    ):
        path.write_bytes("\n".join([*lines[:7], broken, *lines[8:]]).encode("latin-1"))
        with pytest.raises(AutoDPQError, match=message) as caught:
            load_dataset("avazu", data_dir=tmp_path)
        assert "\n" not in str(caught.value)


def test_compressed_files_that_are_not_whole(tmp_path: Path, avazu_text: str, cache: Path) -> None:
    path = tmp_path / "train.gz"
    whole = gzip.compress(avazu_text.encode() * 20)
    for content in (whole[:-4], whole[: len(whole) // 2], whole[:15]):
        path.write_bytes(content)
        with pytest.raises(AutoDPQError, match=r"train\.gz: the gzip file is cut short; get it again"):
            load_dataset("avazu", data_dir=tmp_path)
    path.write_bytes(avazu_text.encode())
    with pytest.raises(AutoDPQError, match=r"train\.gz: this is no gzip file"):
        load_dataset("avazu", data_dir=tmp_path)
    assert list((cache / "datasets").iterdir()) == []


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match=r"none of train\.gz, .* get train\.gz from https://www\.kaggle\.com"):
        load_dataset("avazu", data_dir=tmp_path)
    with pytest.raises(AutoDPQError, match=r"avazu: where its file is was not said; .*AUTODPQ_DATA"):
        load_dataset("avazu")
