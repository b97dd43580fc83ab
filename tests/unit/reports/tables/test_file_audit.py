from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autodpq
from autodpq.choices import DPQ, Full, Others
from autodpq.choices.codes import pack_words
from autodpq.errors import AutoDPQError
from autodpq.packed.file import open_packed, write_packed
from autodpq.packed.manifest import Manifest, SideFile
from autodpq.packed.spec import TableSpec
from reports.tables.file_audit import file_audit_table, file_audit_text

# The rare values of MovieLens-1M by field, and two fields of other choices.
TAILS = {"user": 1303, "movie": 1033, "zip": 505, "genres": 6, "year": 3}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    specs = [TableSpec(name, tail + 20, 16, 20, DPQ(32, 8), 0, first_order=True) for name, tail in TAILS.items()]
    specs += [TableSpec(str(choice), 9, 16, 4, choice, 0, first_order=True) for choice in (Full(), Others())]
    tables = {}
    for spec in specs:
        arrays = {part: np.zeros(shape, dtype) for part, (dtype, shape) in spec.layout.items()}
        if isinstance(spec.choice, DPQ):
            arrays["codes"] = pack_words(np.zeros((spec.tail, 8), int), 5)
        tables[spec.name] = arrays
    about = {"strategy": "grid", "seed": 1, "data": {"name": "ml"}, "metrics": {"test_auc": 0.81, "test_logloss": 0.5}}
    manifest = Manifest("modules", tuple(specs), None, SideFile("a.vocabulary.parquet", "00"), "0.1.0", about)
    write_packed(tmp_path / "a.safetensors", manifest, tables, {"w": np.zeros(10, np.float32)})
    return tmp_path / "a.safetensors"


def numbers_of(line: str) -> list[int]:
    return [int(word.replace(",", "")) for word in line.split() if word.replace(",", "").isdigit()]


def test_parts_are_the_file_and_codes_are_to_the_bit(path: Path) -> None:
    text = file_audit_text(path)
    parts = text[text.index("Parts of the file") :].splitlines()
    sizes = [numbers_of(line)[-1] for line in parts if line.endswith("%")]
    assert sum(sizes[:-1]) == sizes[-1] == path.stat().st_size
    assert "Codes, rows x D x bits: 2,850 x 8 x 5 = 114,000 bits, in 14,250 bytes." in text.replace("\n  ", " ")
    (codes,) = [line for line in parts if line.startswith("codes")]
    # Each field's codes end at a byte: 1,303 and 1,033 rows of 40 bits do.
    assert numbers_of(codes)[0] == 14_250
    assert max(map(len, text.splitlines())) <= 100


def test_every_table_has_its_row(path: Path) -> None:
    table = file_audit_table(path)
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [row["table"] for row in rows] == [*TAILS, "full", "others"]
    by_name = {row["table"]: row for row in rows}
    user = by_name["user"]
    assert int(user["parameters"]) == 20 * 16 + 1303 * 8 + 32 * 16
    assert int(user["code_bytes"]) == 1303 * 5 and int(user["row_bytes"]) == 20 * 64
    assert int(user["bytes"]) == 20 * 64 + 1303 * 5 + 32 * 64 + 1323 * 4
    assert by_name["full"]["choice"] == "full" and int(by_name["full"]["bytes"]) == 9 * 68
    assert int(by_name["others"]["bytes"]) == 5 * 68 and int(by_name["others"]["parameters"]) == 5 * 16


def beside(text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith("vocabulary, beside it")]
    return line.split()[-1]


def test_title_and_notes_say_what_it_is(path: Path) -> None:
    text = file_audit_text(path).replace("\n  ", " ")
    assert "a.safetensors: format 1, modules, grid on ml, seed 1" in text
    assert "test AUC 0.81000" in text and "Not counted: the vocabulary a.vocabulary.parquet, texts of values." in text
    assert beside(text) == "missing"
    path.with_name("a.vocabulary.parquet").write_bytes(b"12345")
    assert beside(file_audit_text(path)) == "5"
    total = 4 * 17 * (sum(TAILS.values()) + 20 * len(TAILS) + 18) + 40
    assert f"not compressed, in float32: {total:,}" in text


def test_rows_of_eight_bits_are_counted_with_their_scales(path: Path, tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match="the vocabulary of the model is missing"):
        autodpq.export(path, tmp_path / "b.safetensors", head_dtype="int8")
    path.with_name("a.vocabulary.parquet").write_bytes(b"12345")
    autodpq.export(path, tmp_path / "b.safetensors", head_dtype="int8")
    text = file_audit_text(tmp_path / "b.safetensors")
    (scales,) = [line for line in text.splitlines() if line.startswith("scales of int8 rows")]
    assert numbers_of(scales)[0] == 4 * (20 * len(TAILS) + 9 + 5)


def test_no_packed_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_text("nothing")
    with pytest.raises(AutoDPQError, match="no file that autodpq exported"):
        file_audit_text(tmp_path / "a.safetensors")


def write_one(path: Path, spec: TableSpec, about: dict[str, Any]) -> str:
    arrays = {part: np.zeros(shape, dtype) for part, (dtype, shape) in spec.layout.items()}
    if not spec.ranked:
        arrays["head_ids"] = np.arange(spec.head, dtype=np.int32)
    write_packed(path, Manifest("modules", (spec,), None, None, "0.1.0", about), {spec.name: arrays}, {})
    return file_audit_text(path)


SMALL = TableSpec("a", 20, 8, 4, DPQ(5, 4), 0, ranked=False)


def test_text_of_a_small_file(tmp_path: Path) -> None:
    metrics = {"test_auc": 0.8125, "test_logloss": 0.5, "valid_auc": 0.75, "valid_logloss": 1}
    text = write_one(tmp_path / "a.safetensors", SMALL, {"strategy": "tpe", "data": {"name": "ml"}, "metrics": metrics})
    size = (tmp_path / "a.safetensors").stat().st_size
    header = size - 128 - 160 - 24 - 16
    assert text.splitlines()[:13] == [
        "a.safetensors: format 1, modules, tpe on ml",
        "Table  Rows  Frequent   Rare by  Bits/code  Space  Space in full",
        "─" * 64,
        "a        20         4  dpq(5,4)          3    136            160",
        "- Space: parameters as the paper counts them, a code being one.",
        "- As trained: test AUC 0.81250, test logloss 0.50000, validation AUC 0.75000, validation logloss",
        "  1.00000.",
        "",
        "Bytes by table",
        "Table  Rows  Centroids  Codes  Ids  Sum",
        "─" * 39,
        "a       128        160     24   16  328",
        "- Rows: frequent rows, and under others the one that the rare share.",
    ]
    (header_line,) = [line for line in text.splitlines() if line.startswith("header and manifest")]
    assert numbers_of(header_line)[0] == header
    assert "16 x 4 x 3 = 192 bits, in 24 bytes." in text
    # Two subspaces are not decoded together here: 64 entries of 4 numbers would be more than the codes. Where the
    # entries of each of the four begin takes a number of 64 bits.
    assert f"In memory when served: {328 + 8 * 8 * 4 + 4 * 8:,} bytes; not compressed, in float32: 640." in text


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"metrics": 3, "data": "b", "strategy": None},
        {"metrics": None, "data": None, "seed": [1]},
        {"metrics": {"test_auc": "high", "test_logloss": None}, "data": {}},
        {"metrics": [0.5], "data": {"name": {"a": "[bold]"}}, "strategy": "[red]a[/]"},
    ],
)
def test_whatever_a_file_says_of_itself_is_no_error(about: dict[str, Any], tmp_path: Path) -> None:
    text = write_one(tmp_path / "a.safetensors", SMALL, about)
    assert text.startswith("a.safetensors: format 1, modules") and "As trained" not in text
    assert all(str(about[key]) in text for key in ("strategy", "seed") if key in about)


def test_numbers_of_large_tables_are_whole(tmp_path: Path) -> None:
    name = "embedding_dict.identifier_of_the_user_s_device_and_of_its_browser.weight"
    text = write_one(tmp_path / "a.safetensors", TableSpec(name, 123_456_789, 64, 1000, Others(), 0, False, True), {})
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100 and "…" not in text
    assert any({"123,456,789", "1,000", "others", "64,064", "7,901,234,496"} <= set(line.split()) for line in lines)
    sizes = {f"{size:,}" for size in (1001 * 256, 4000, 1001 * 4, 1001 * 260 + 4000)}
    assert any(sizes <= set(line.split()) for line in lines)


def test_parts_that_are_not_the_file_are_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = open_packed(path)
    sizes = {name: size for name, size in packed.sizes.items() if not name.startswith("dense.")}
    lacking = dataclasses.replace(packed, sizes=sizes)
    monkeypatch.setattr("reports.tables.file_audit.open_packed", lambda _: lacking)
    size = path.stat().st_size
    with pytest.raises(
        AutoDPQError, match=rf"its parts are {size - 40:,} bytes, the file is {size:,}; export it again"
    ):
        file_audit_text(path)


def test_arrays_of_a_kind_of_ones_own_are_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = open_packed(path)
    first, *others = packed.tables
    levels = np.zeros(7, np.uint8)
    monkeypatch.setattr(first, "arrays", {**first.arrays, "levels": levels})
    path.write_bytes(path.read_bytes() + levels.tobytes())
    monkeypatch.setattr("reports.tables.file_audit.open_packed", lambda _: packed)
    assert [row["levels_bytes"] for row in file_audit_table(path).records] == [7, *[0] * len(others)]
    assert "levels" in file_audit_text(path)
