from __future__ import annotations

from pathlib import Path

import pytest

from autodpq.errors import AutoDPQError
from studies.files import append_line, drop_cut_line, read_json, read_lines, write_json


def test_json_comes_back_to_the_last_digit(tmp_path: Path) -> None:
    value = {"auc": 0.1 + 0.2, "name": "Köln", "none": None, "list": [1, 1e-300]}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value


def test_what_is_no_number_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "value.json", {"auc": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_line(tmp_path / "lines.jsonl", {"auc": float("inf")})
    assert read_lines(tmp_path / "lines.jsonl") == [] and not (tmp_path / "value.json").exists()


def test_damaged_json_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"seed": 1')
    with pytest.raises(AutoDPQError, match=r"config\.json: not valid JSON .*delete the folder"):
        read_json(path)


def test_lines_are_appended_and_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    values = [{"number": 0, "error": 'two\nlines and "quotes"'}, {"number": 1, "auc": 2 / 3}]
    for value in values:
        append_line(path, value)
    assert read_lines(path) == values
    assert path.read_bytes().count(b"\n") == 2


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "missing.jsonl") == []
    drop_cut_line(tmp_path / "missing.jsonl")
    assert list(tmp_path.iterdir()) == []


# A line without its end was cut off even where it reads as JSON: {"a":12 may have been {"a":123.
@pytest.mark.parametrize("cut", ['{"number":2,"au', "12", '{"number":2}', "\u00e4"])
def test_last_line_that_was_cut_off_is_dropped(tmp_path: Path, cut: str) -> None:
    path = tmp_path / "trials.jsonl"
    append_line(path, {"number": 0})
    append_line(path, {"number": 1})
    with path.open("a") as file:
        file.write(cut)
    assert [line["number"] for line in read_lines(path)] == [0, 1]
    drop_cut_line(path)
    append_line(path, {"number": 2})
    assert [line["number"] for line in read_lines(path)] == [0, 1, 2]


def test_last_line_cut_within_a_letter_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_bytes(b'{"number":0}\n{"error":"\xc3')
    drop_cut_line(path)
    assert read_lines(path) == [{"number": 0}]


def test_only_line_cut_off_leaves_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text('{"num')
    drop_cut_line(path)
    assert path.read_bytes() == b"" and read_lines(path) == []


def test_damaged_line_is_named_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text('{"number":0}\n{"number":\n{"number":2}\n')
    with pytest.raises(AutoDPQError, match=r"trials\.jsonl, line 2: not valid JSON"):
        read_lines(path)
