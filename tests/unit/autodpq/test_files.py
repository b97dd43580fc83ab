from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from autodpq.errors import AutoDPQError
from autodpq.files import remove_parts, whole_file, write_whole, writing


def test_whole_file_replaces_the_old_one_and_leaves_no_part(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "result.json", b"old")
    write_whole(path, "new, and longer: ü")
    assert path.read_text(encoding="utf-8") == "new, and longer: ü"
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_old_file_stays_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_whole(tmp_path / "result.json", b"old")
    with pytest.raises(RuntimeError), whole_file(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError

    def full_disk(_: int) -> None:
        assert path.read_bytes() == b"old", "readers would see a part"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(AutoDPQError, match=r"result\.json: cannot be written \(No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    with pytest.raises(AutoDPQError, match="cannot be written"):
        write_whole(tmp_path / "nowhere" / "a.txt", "x")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "No space left on device); make room there and try again"),
        (errno.EROFS, "Read-only file system); make it writable, or name another place"),
        (errno.ENOENT, "No such file or directory); its folder is gone: put it back, or name another place"),
        (errno.EIO, "Input/output error)"),
    ],
)
def test_what_keeps_a_file_from_being_written_is_told_in_one_line(tmp_path: Path, number: int, message: str) -> None:
    with pytest.raises(AutoDPQError) as refused, writing(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    assert str(refused.value) == f"{tmp_path / 'a'}: cannot be written ({message}"


def test_other_errors_are_not_taken_for_one_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match=r"^named before$"), writing(tmp_path / "a"):
        raise AutoDPQError("named before")
    with pytest.raises(ValueError, match=r"^no number$"), writing(tmp_path / "a"):
        raise ValueError("no number")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(bytes(10_000)),
        lambda path: save_file({"a": torch.zeros(10_000)}, path),
        lambda path: pl.DataFrame({"a": range(10_000)}).write_parquet(path, compression="uncompressed"),
        lambda path: pl.DataFrame({"a": range(10_000)}).write_csv(path.open("wb", buffering=0)),
    ],
    ids=["python", "safetensors", "polars", "polars, into a file of Python's"],
)
def test_full_disk_is_told_whatever_library_writes(tmp_path: Path, write: Callable[[Path], object]) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(AutoDPQError) as refused, whole_file(tmp_path / "a") as temporary:
            write(temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(refused.value) == f"{tmp_path / 'a'}: cannot be written (File too large); make room there and try again"
    assert list(tmp_path.iterdir()) == []


def test_parts_that_a_killed_process_left_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    names = "a.json", ".lock", "models/b.part", ".a.json.part", ".a.json.mine.part", "models/.draft.part"
    kept = [write_whole(tmp_path / name, "x") for name in names]
    for name in ("a.json", "models/a.json", "models/0.json", "models/b.json"):
        # As a kill between the two would leave it.
        with whole_file(tmp_path / name) as temporary:
            part = temporary
        part.write_text("half")
        kept += [tmp_path / name, *([part] if name == "models/b.json" else [])]
    remove_parts(tmp_path, ["a.json", "models/[0-9a].json"])
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(set(kept))
