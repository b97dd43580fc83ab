from __future__ import annotations

import os
from pathlib import Path

import pytest

from autodpq.errors import AutoDPQError
from autodpq.files import whole_file, write_whole


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
