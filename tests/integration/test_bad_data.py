"""Data that cannot be used: one line that names file, column and row, before anything is trained or written."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command_line import Call

Write = Callable[[Path], Path]


def csv(text: str | bytes) -> Write:
    def write(folder: Path) -> Path:
        (folder / "own.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        return folder / "own.csv"

    return write


def parquet(columns: dict[str, Any], cut: int | None = None) -> Write:
    def write(folder: Path) -> Path:
        path = folder / "own.parquet"
        pq.write_table(pa.table(columns), path)
        path.write_bytes(path.read_bytes()[:cut])
        return path

    return write


def parts(*labels: str) -> str:
    """Rows of three parts, each with the labels given."""
    rows = [f"{label},u{number},{part}" for part, those in enumerate(labels) for number, label in enumerate(those * 20)]
    return "\n".join(["click,user,part", *rows]) + "\n"


SPLIT = ("--split-column", "part")
DAY_THREE_MILLION = pa.array([0, 3_000_000], pa.int32()).view(pa.date32())
NOT_TEXT = pa.array([b"u", b"\xff"], pa.binary()).view(pa.string())


@pytest.mark.parametrize(
    ("write", "options", "message"),
    [
        (csv(parts("1", "01", "01")), SPLIT, "data set 'own': every label of the train part is 1"),
        (csv(parts("01", "0", "01")), SPLIT, "data set 'own': every label of the valid part is 0"),
        (csv(parts("01", "01", "1")), SPLIT, "data set 'own': every label of the test part is 1"),
        (csv(parts("01", "", "01")), SPLIT, "data set 'own': the valid part of the split is empty"),
        (csv("click,user\n" + "0,a\n" * 8 + "1,a\n"), (), "data set 'own': 1 rows have the label 1, too few"),
        (csv("click,user\n\n0,a\n\n1\n"), (), "own.csv, line 5: 1 columns where 2 are expected"),
        (csv(b"click,user\n0,a\n1,\xe4\n"), (), "own.csv, line 3, column 'user': not UTF-8 text"),
        (csv("click,user\n0,a\n,b\n"), (), "own.csv, row 2, column 'click': the value is missing"),
        (csv('click,"user\n0,a\n1,b\n'), (), "own.csv, line 1: not a header of comma-separated names"),
        (parquet({"click": [0, 1], "a": [{"x": 1}, {"x": 2}]}), (), "own.parquet, column 'a': values of type Struct"),
        (parquet({"click": [0, 1], "a": DAY_THREE_MILLION}), (), "own.parquet, row 2, column 'a': a date outside"),
        (
            parquet({"click": [0, 1], "a": NOT_TEXT}),
            (),
            "own.parquet, row 2, column 'a': a damaged value, or not UTF-8",
        ),
        (parquet({"click": [0, 1], "a\nb": [0, 1]}), (), "own.parquet: column 2 is called 'a\\nb', with a control"),
        (parquet({"click": [0, 1], "a": [0, 1]}, cut=-9), (), "own.parquet: this is no parquet file, or one cut short"),
    ],
)
def test_data_is_refused_before_anything_is_trained(
    call_here: Call, tmp_path: Path, write: Write, options: tuple[str, ...], message: str
) -> None:
    done = call_here("run", "--dataset", write(tmp_path), "--seeds", "1", *options, "--out", tmp_path / "study")
    assert done.code == 2 and message in done.err, done
    assert done.err.startswith("Error: ") and len(done.err.splitlines()) == 1, done.err
    assert not (tmp_path / "study").exists()


def test_an_archive_that_swells_is_refused(call_here: Call, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml-1m/ratings.dat", bytes(100 << 20))
    done = call_here("run", "--dataset", "movielens1m", "--data-dir", tmp_path, "--out", tmp_path / "study")
    assert done.code == 2 and "ml-1m.zip/ratings.dat: larger than 64 MiB" in done.err
    assert len(done.err.splitlines()) == 1 and {path.name for path in tmp_path.iterdir()} == {"ml-1m.zip"}
