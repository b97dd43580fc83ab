from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from support.disk_space import no_file_above

from autodpq.errors import AutoDPQError
from autodpq.records import files
from autodpq.records.files import append_line, drop_cut_line, write_json

OBJECT = TypeAdapter(dict[str, Any])


def read_json(path: Path, *advice: str) -> dict[str, Any]:
    return files.read_json(path, OBJECT, *advice)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return files.read_lines(path, OBJECT)


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


def test_last_line_whose_end_was_altered_was_not_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    append_line(path, {"number": 0})
    append_line(path, {"number": 1})
    path.write_bytes(path.read_bytes()[:-1] + b"\x0b")
    with pytest.raises(AutoDPQError, match=r"trials\.jsonl, line 2: damaged \(its end is not the one"):
        read_lines(path)
    drop_cut_line(path)
    assert read_lines(path) == [{"number": 0}], "it is measured anew"


def test_altered_entries_are_named(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"auc": 0.75})
    path.write_text(path.read_text().replace("0.75", "0.74"))
    with pytest.raises(
        AutoDPQError, match=r"result\.json: damaged \(its entries are not those that were written: .*anew"
    ):
        read_json(path)
    path = tmp_path / "trials.jsonl"
    for number in range(3):
        append_line(path, {"number": number})
    path.write_text(path.read_text().replace('"number":1', '"number":3'))
    with pytest.raises(
        AutoDPQError, match=r"trials\.jsonl, line 2: damaged \(its entries .*; delete that line and those"
    ):
        read_lines(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"seed": 1', "not valid JSON"),
        (b"", "not valid JSON"),
        (bytes(40), "not valid JSON"),
        (b'{"seed": "\xff"}', "not valid JSON"),
        (b"[1]", "it holds no JSON object"),
        (b"null", "it holds no JSON object"),
    ],
)
def test_damaged_json_is_named_in_one_line_with_the_advice_given(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "study.json"
    path.write_bytes(content)
    with pytest.raises(AutoDPQError) as refused:
        read_json(path, "say it again")
    message = str(refused.value)
    assert message.startswith(f"{path}: ") and reason in message and message.endswith("; say it again")
    assert "\n" not in message


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match=r"gone\.json: cannot be read \(No such file or directory\)"):
        read_json(tmp_path / "gone.json")
    (tmp_path / "trials.jsonl").mkdir()
    for read in (read_lines, drop_cut_line):
        with pytest.raises(AutoDPQError, match=r"trials\.jsonl: cannot be read \(Is a directory\)"):
            read(tmp_path / "trials.jsonl")


def test_line_that_is_no_text_is_named_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_bytes(b'{"number":0}\n\xff\xfe\n{"number":2}\n')
    with pytest.raises(
        AutoDPQError, match=r"trials\.jsonl, line 2: not valid JSON \(.*\); delete that line and those after"
    ):
        read_lines(path)


@pytest.mark.parametrize("room", [0, 1, 46, 47, 48])
def test_line_that_there_is_no_room_for_leaves_nothing_behind(tmp_path: Path, room: int) -> None:
    path = tmp_path / "trials.jsonl"
    append_line(path, {"number": 0})
    before = path.read_bytes()
    line = {"number": 1, "error": "x"}  # 49 bytes with its seal
    with (
        no_file_above(len(before) + room),
        pytest.raises(AutoDPQError, match=r"trials\.jsonl: cannot be written \(File too large\); make room there"),
    ):
        append_line(path, line)
    assert path.read_bytes() == before
    append_line(path, line)
    assert read_lines(path) == [{"number": 0}, line]


def test_line_that_does_not_reach_the_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trials.jsonl"
    append_line(path, {"number": 0})

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(AutoDPQError, match="No space left on device"):
        patch.setattr(os, "fsync", full_disk)
        append_line(path, {"number": 1})
    assert read_lines(path) == [{"number": 0}] and path.read_bytes().endswith(b"\n")


def test_line_in_a_folder_that_has_gone(tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match=r"trials\.jsonl: cannot be written \(No such file.*; its folder is gone"):
        append_line(tmp_path / "gone" / "trials.jsonl", {})
