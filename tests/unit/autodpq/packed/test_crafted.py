"""Files whose checksum is right and whose content is not."""

from __future__ import annotations

import builtins
import json
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.packed_files import DENSE, MANIFEST, TABLES, crafted, parts_of, refused, sealed, text_of

from autodpq.packed.file import open_packed, write_packed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_packed(tmp_path / "a.safetensors", MANIFEST, TABLES, DENSE)
    return tmp_path / "a.safetensors"


def test_a_crafted_file_that_changes_nothing_is_read(path: Path, tmp_path: Path) -> None:
    header, data = parts_of(path)
    (tmp_path / "b").write_bytes(crafted(header, data))
    assert open_packed(tmp_path / "b").manifest == MANIFEST


def _entry(name: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].update(changes)


def _manifest(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        manifest = json.loads(header["__metadata__"]["autodpq"])
        header["__metadata__"]["autodpq"] = json.dumps({**manifest, **changes})

    return change


def _table(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        manifest = json.loads(header["__metadata__"]["autodpq"])
        manifest["tables"][0].update(changes)
        header["__metadata__"]["autodpq"] = json.dumps(manifest)

    return change


@pytest.mark.parametrize(
    "change",
    [
        _entry("dense.w", data_offsets=[0, 24]),
        _entry("dense.w", data_offsets=[-24, 0]),
        _entry("dense.w", data_offsets=[0.0, 24.0]),
        _entry("dense.w", data_offsets=[0]),
        _entry("dense.w", shape=[1 << 61, 1 << 61]),
        _entry("dense.w", shape=[-2, -3]),
        _entry("dense.w", shape=[1] * 65 + [6]),
        _entry("dense.w", shape=[1 << 61] * 100_000),
        _entry("dense.none", shape=[0] * 65),
        _entry("dense.none", shape=[0, 1 << 61]),
        _entry("dense.none", shape=[1 << 40, 1 << 40, 0]),
        _entry("dense.none", data_offsets=[1 << 61, 1 << 61]),
        _entry("dense.w", shape=[3, 3]),
        _entry("dense.w", shape=[True, 6]),
        _entry("dense.w", shape="6"),
        _entry("dense.w", dtype="F16"),
        _entry("dense.w", dtype="PICKLE"),
        _entry("dense.w", dtype=["F32"]),
        _entry("dense.w", more=1),
        lambda header: header.update({"dense.w": [1]}),
        lambda header: header.pop("dense.w"),
        lambda header: header.update({"evil": header.pop("dense.w")}),
        lambda header: header.pop("tables.a.b.codes"),
        lambda header: header["__metadata__"].pop("autodpq"),
        lambda header: header["__metadata__"].update(autodpq=[1]),
        lambda header: header["__metadata__"].update(autodpq="["),
        lambda header: header["__metadata__"].update(autodpq="[" * 100_000),
        lambda header: header["__metadata__"].update(autodpq="\ud800"),
        _manifest(format=2),
        _manifest(kind="pickle"),
        _manifest(tables=[]),
        _manifest(model=None),
        _manifest(vocabulary={"name": "../../etc/passwd", "sha256": "ab"}),
        _manifest(extra=1),
        _table(n_rows=0),
        _table(n_rows=(1 << 31) - 1),
        _table(n_rows=1 << 62),
        _table(n_rows=21),
        _table(head=5),
        _table(dim=16),
        _table(n_rows=-5),
        _table(dim=1 << 40),
        _table(dim=0),
        _table(choice="dpq(999999999,4)"),
        _table(choice="dpq(9,4)"),
        _table(choice="dpq(16777216,8)"),
        _table(choice="others"),
        _table(choice="full"),
        _table(choice="__import__('os')"),
        _table(head_dtype="float64"),
        _table(ranked=False),
        _table(first_order=False),
        _table(name="rows"),
    ],
)
def test_headers_that_lie_are_refused(change: Callable[[dict[str, Any]], Any], path: Path, tmp_path: Path) -> None:
    header, data = parts_of(path)
    change(header)
    refused(tmp_path / "b.safetensors", crafted(header, data))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"dense.w":', b'"dense.w":{},"dense.w":'),
        (b'"dense.w":', b'"dense.w":NaN,"dense.x":'),
        (b'"dense.flags"', b'"dense.\\ud800"'),
        (b'"dense.flags"', b'"dense.\xed\xa0\x80"'),
        (b'"dense.flags"', b'"dense.\xff"'),
        (b'"shape":[2,3]', b'"shape":[2,3],"shape":[2,3]'),
        (b'"shape":[2,3]', b'"shape":[2,3.0]'),
        (b'"shape":[2,3]', b'"shape":[2,3,' + b"9" * 5000 + b"]"),
        (b'"shape":[2,3]', b'"shape":' + b"[" * 200_000),
        (b'"shape":[2,3]', b'"shape":' + b"[" * 20_000 + b"]" * 20_000),
        (b'\\"seed\\":0', b'\\"seed\\":NaN'),
        (b'\\"seed\\":0', b'\\"seed\\":-1e999'),
        (b'\\"seed\\":0', b'\\"seed\\":0,\\"seed\\":0'),
        (b'\\"seed\\":0', b'\\"seed\\":\\"\\\\ud800\\"'),
    ],
)
def test_json_that_others_read_otherwise_is_refused(old: bytes, new: bytes, path: Path, tmp_path: Path) -> None:
    header, data = parts_of(path)
    text = text_of(header)
    assert text.count(old) == 1
    refused(tmp_path / "b.safetensors", sealed(text.replace(old, new), data))


@pytest.mark.parametrize("head_ids", [[3, 2], [2, 2], [-1, 2], [2, 9], [1 << 30, 3]])
def test_listed_ids_that_do_not_rise_are_refused(head_ids: list[int], path: Path, tmp_path: Path) -> None:
    header, data = parts_of(path)
    begin, end = header["tables.rows.head_ids"]["data_offsets"]
    content = data[:begin] + np.array(head_ids, "<i4").tobytes() + data[end:]
    assert "its head_ids do not rise" in refused(tmp_path / "b.safetensors", sealed(text_of(header), content))


def test_what_is_no_utf_8_is_no_header(path: Path, tmp_path: Path) -> None:
    header, data = parts_of(path)
    for encoding in ("utf-16", "utf-32-le", "utf-8-sig"):
        refused(tmp_path / "b.safetensors", sealed(text_of(header).decode().encode(encoding), data))


def test_lengths_that_lie_take_no_memory(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    tracemalloc.start()
    for length in (0, 1, len(content) - 7, 100_000_000, 100_000_001, 1 << 40, (1 << 64) - 1):
        refused(tmp_path / "b.safetensors", length.to_bytes(8, "little") + content[8:])
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


class _Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_reading_runs_no_code(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header, data = parts_of(path)
    pickled = pickle.dumps(_Touches(tmp_path / "touched"))
    pickle.loads(pickled)
    assert (tmp_path / "touched").is_file(), "the code must do something where it is run"
    (tmp_path / "touched").unlink()
    text = json.loads(header["__metadata__"]["autodpq"])
    text["about"] = {"code": f"__import__('pathlib').Path({str(tmp_path / 'touched')!r}).touch()"}
    header["__metadata__"]["autodpq"] = json.dumps(text)
    header["dense.code"] = {
        "dtype": "U8", "shape": [len(pickled)], "data_offsets": [len(data), len(data) + len(pickled)]
    }  # fmt: skip
    (tmp_path / "b.safetensors").write_bytes(sealed(text_of(header), data + pickled))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("code of the file was looked at")

    for name in ("eval", "exec", "compile"):
        monkeypatch.setattr(builtins, name, never)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, never)
    packed = open_packed(tmp_path / "b.safetensors")
    monkeypatch.undo()
    assert packed.dense["code"].tobytes() == pickled and not (tmp_path / "touched").exists()
    refused(tmp_path / "c.safetensors", pickled)
    assert not (tmp_path / "touched").exists()


def test_an_unknown_format_says_what_to_do(path: Path, tmp_path: Path) -> None:
    header, data = parts_of(path)
    _manifest(format=9)(header)
    assert "this version reads formats 1 to 5" in refused(tmp_path / "b", crafted(header, data))
