from __future__ import annotations

import gzip
import math
from pathlib import Path

import polars as pl
import pytest

from autodpq.data import load_dataset
from autodpq.data.sets.criteo import bucketed
from autodpq.errors import AutoDPQError

NUMBERS = [-3, -1, 0, 1, 2, 3, 4, 10, 1000, 2**40]


def lines() -> list[str]:
    made = []
    for number in range(20):
        integers = [str(NUMBERS[(number + column) % 10]) if (number + column) % 4 else "" for column in range(13)]
        categories = [f"{number % (column + 1):08x}" if (number + column) % 5 else "" for column in range(26)]
        made.append("\t".join([str(number % 2), *integers, *categories]))
    return made


def test_integers_become_categories() -> None:
    expected = [str(math.floor(math.log(x) ** 2)) if x > 2 else str(x) for x in NUMBERS]
    assert bucketed(pl.Series(NUMBERS)).to_list() == expected
    assert bucketed(pl.Series([None, 5], dtype=pl.Int64)).to_list() == ["", "2"]


@pytest.mark.parametrize("name", ["train.txt", "criteo/train.txt.gz"])
def test_all_thirty_nine_columns_are_fields(tmp_path: Path, name: str) -> None:
    path = tmp_path / "source" / name
    path.parent.mkdir(parents=True)
    content = ("\n".join(lines()) + "\n").encode()
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    dataset = load_dataset("criteo", data_dir=tmp_path / "source")
    rows = [line.split("\t") for line in lines()]
    assert dataset.field_names == tuple([f"I{n}" for n in range(1, 14)] + [f"C{n}" for n in range(1, 27)])
    assert dataset.labels.tolist() == [int(row[0]) for row in rows]
    assert dataset.time is None
    words = dataset.vocabulary()
    for column, field in enumerate(dataset.field_names):
        values = words.filter(pl.col("field") == field)["value"].gather(dataset.ids[:, column]).to_list()
        raw = [row[1 + column] for row in rows]
        if field.startswith("I"):
            raw = bucketed(pl.Series(raw).cast(pl.Int64, strict=False)).to_list()
        assert values == raw


def test_bad_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    whole = lines()
    cells = whole[4].split("\t")
    cells[3] = "1.5"
    for row, broken, message in (
        (4, "\t".join(cells), r"train\.txt, row 5, column 'I3': '1\.5'; an integer is expected"),
        (4, whole[4].rsplit("\t", 1)[0], r"train\.txt, line 5: 39 columns where 40 are expected"),
        (0, whole[0].replace("\t", ","), r"train\.txt, line 1: 1 columns where 40 are expected"),
        (3, "\n\r\n" + whole[3] + "\tmore", r"train\.txt, line 6: 41 columns where 40 are expected"),
        (4, whole[4][1:], r"train\.txt, row 5, column 'label': the value is missing; a label must be 0 or 1"),
        (4, "2" + whole[4][1:], r"train\.txt, row 5, column 'label': '2'; a label must be 0 or 1"),
        (4, whole[4][:-1] + "\xff", r"train\.txt, line 5, column 'C26': not UTF-8 text"),
        (4, "0\t" + "9" * 19 + whole[4][whole[4].index("\t", 2) :], r"train\.txt, row 5, column 'I1': '9{19}'; an int"),
        (0, whole[0].encode("utf-16").decode("latin-1"), r"train\.txt, line 1, column 'label': not UTF-8 text"),
    ):
        path.write_bytes("\n".join([*whole[:row], broken, *whole[row + 1 :]]).encode("latin-1"))
        with pytest.raises(AutoDPQError, match=message):
            load_dataset("criteo", data_dir=tmp_path)
    path.write_text("")
    with pytest.raises(AutoDPQError, match=r"train\.txt: the file has no rows"):
        load_dataset("criteo", data_dir=tmp_path)


def test_labels_of_one_class_and_files_that_are_not_whole(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("\n".join("0" + line[1:] for line in lines()))
    with pytest.raises(AutoDPQError, match=r"train\.txt: every label is 0; both 0 and 1 are needed"):
        load_dataset("criteo", data_dir=tmp_path)
    (tmp_path / "train.txt").unlink()
    whole = gzip.compress("\n".join(lines()).encode())
    for content, message in (
        (whole[:-5], "the gzip file is cut short; get it again"),
        (whole[:-8] + bytes(8), "this is no gzip file, or a damaged one"),
        (b"0\t1\n", "this is no gzip file, or a damaged one"),
        (b"", "the file has no rows"),
    ):
        (tmp_path / "train.txt.gz").write_bytes(content)
        with pytest.raises(AutoDPQError, match=rf"train\.txt\.gz: {message}"):
            load_dataset("criteo", data_dir=tmp_path)


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match=r"none of train\.txt, .* get train\.txt from https://ailab\.criteo\.com"):
        load_dataset("criteo", data_dir=tmp_path)
