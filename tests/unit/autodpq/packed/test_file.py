from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from support.packed_files import DENSE, MANIFEST, TABLES, arrays_of, refused

from autodpq.choices import DPQ
from autodpq.errors import AutoDPQError
from autodpq.packed.file import open_packed, write_packed
from autodpq.packed.manifest import Manifest
from autodpq.packed.spec import TableSpec


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_packed(tmp_path / "a.safetensors", MANIFEST, TABLES, DENSE)
    return tmp_path / "a.safetensors"


def test_what_is_written_is_read(path: Path) -> None:
    packed = open_packed(path)
    assert packed.manifest == MANIFEST
    for table in packed.tables:
        written = TABLES[table.spec.name]
        assert table.arrays.keys() == written.keys()
        assert all(np.array_equal(table.arrays[part], array) for part, array in written.items())
    assert packed.dense.keys() == DENSE.keys()
    for name, array in DENSE.items():
        assert packed.dense[name].dtype == array.dtype and packed.dense[name].shape == array.shape
        assert np.array_equal(packed.dense[name], array)
    assert sum(packed.sizes.values()) == path.stat().st_size
    assert all(not table.arrays["rows"].flags.writeable for table in packed.tables)


def test_safetensors_own_reader_gives_the_same(path: Path) -> None:
    found = safetensors.numpy.load_file(path)
    assert set(found) == {f"tables.{name}.{part}" for name in TABLES for part in TABLES[name]} | {
        f"dense.{name}" for name in DENSE
    }
    assert np.array_equal(found["tables.a.b.codes"], TABLES["a.b"]["codes"])
    assert np.array_equal(found["dense.half"], DENSE["half"])


def test_same_content_is_the_same_bytes(path: Path, tmp_path: Path) -> None:
    write_packed(tmp_path / "b.safetensors", MANIFEST, dict(reversed(TABLES.items())), dict(reversed(DENSE.items())))
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()


def test_a_file_that_was_checked_is_not_checked_again_until_it_changes(path: Path) -> None:
    note = path.with_name("a.safetensors.checked")
    open_packed(path)
    assert not note.exists()  # nobody has asked for it
    assert open_packed(path, remember=True).manifest == MANIFEST and note.exists()
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    # Nothing but its bytes tells that it is another: who asks for it to be remembered takes that.
    assert open_packed(path, remember=True).manifest == MANIFEST
    assert "its content is not what was exported" in refused(path, bytes(content))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(AutoDPQError, match="its content is not what was exported"):
        open_packed(path, remember=True)
    content[-1] ^= 1
    path.write_bytes(content)
    for damaged in ("", "{", "[1]", '{"bytes": 1}', "\x00"):
        note.write_text(damaged)
        open_packed(path, remember=True)
        assert json.loads(note.read_text())["bytes"] == len(content)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path, spec = tmp_path_factory.mktemp("small") / "a.safetensors", TableSpec("a", 9, 4, 1, DPQ(3, 2), 0)
    write_packed(path, Manifest("modules", (spec,), None, None, "0.1.0"), {"a": arrays_of(spec)}, {})
    return path.read_bytes()


def test_every_byte_counts(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    for place in range(len(small)):
        refused(path, small[:place] + bytes([small[place] ^ (1 + place % 255)]) + small[place + 1 :])


def test_every_cut_off_file_is_refused(small: bytes, tmp_path: Path) -> None:
    for length in range(len(small)):
        refused(tmp_path / "b.safetensors", small[:length])


@pytest.mark.slow
def test_every_other_byte_in_every_place_is_refused(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    for place, was in enumerate(small):
        for other in {0, 255, ord("0"), ord('"'), *(was ^ 1 << bit for bit in range(8))} - {was}:
            refused(path, small[:place] + bytes([other]) + small[place + 1 :])


def test_cut_off_and_foreign_files(path: Path, tmp_path: Path) -> None:
    content, other = path.read_bytes(), tmp_path / "b.safetensors"
    assert "cut off" in refused(other, content[:-1]) and "no file" in refused(other, b"")
    for more in (b"\0", b"\0" * 4096, content):
        assert "cut off or altered" in refused(other, content + more)
    for text in (b"\n", b"PK\3\4" + b"\0" * 60, b"\x80\x04" * 50, b"{}", b" " * 200, bytes(range(256)) * 8):
        assert "no file that autodpq exported" in refused(other, text)
    assert "no file that autodpq exported" in refused(other, b"col1,col2\n1,2\n")
    safetensors.numpy.save_file({"a": np.zeros(3)}, other)
    assert "no file that autodpq exported" in refused(other, other.read_bytes())
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(AutoDPQError, match=r"cannot be read|no file"):
            open_packed(missing)


def test_writing_is_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    with pytest.raises(AutoDPQError, match="its codes are missing"):
        lacking = {part: array for part, array in TABLES["a.b"].items() if part != "codes"}
        write_packed(path, MANIFEST, {**TABLES, "a.b": lacking}, DENSE)
    wrong: list[tuple[dict[str, Any], Manifest, str]] = [
        ({"c": np.zeros(2, complex)}, MANIFEST, "complex128"),
        ({"c": np.zeros(2, ">f4")}, MANIFEST, ">f4, which the format has no place for"),
        ({"c": np.array([None])}, MANIFEST, "object"),
        ({"\ud800": np.zeros(2)}, MANIFEST, "cannot be written .*surrogates"),
        ({}, replace(MANIFEST, about={"auc": float("nan")}), "cannot be written .*not JSON compliant"),
    ]
    for dense, manifest, message in wrong:
        with pytest.raises(AutoDPQError, match=message):
            write_packed(path, manifest, TABLES, dense)
    with pytest.raises(AutoDPQError, match=r"table 'a\.b': its rows are missing"):
        write_packed(path, MANIFEST, {}, DENSE)
    with pytest.raises(AutoDPQError, match="there is no place for its scales"):
        write_packed(path, MANIFEST, {**TABLES, "a.b": {**TABLES["a.b"], "scales": np.zeros(4, np.float32)}}, DENSE)
    monkeypatch.setattr("autodpq.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(AutoDPQError, match=r"\(No space left on device\); make room there"):
        write_packed(path, replace(MANIFEST, version="0.2.0"), TABLES, DENSE)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_disk_that_fills_up_in_the_middle_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = path.read_bytes(), Path.open

    def opened(self: Path, *args: Any, **kwargs: Any) -> Any:
        file, written = real(self, *args, **kwargs), []
        if self.suffix == ".part" and args == ("wb",):

            class Filling:
                def __enter__(self) -> Filling:
                    return self

                def __exit__(self, *_: object) -> None:
                    file.close()

                def write(self, content: Any) -> int:
                    written.append(content)
                    if len(written) > 4:
                        raise OSError(28, "No space left on device")
                    return file.write(content)  # type: ignore[no-any-return]

            return Filling()
        return file

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(AutoDPQError, match=r"\(No space left on device\); make room there and try again$"):
        write_packed(path, replace(MANIFEST, version="0.2.0"), TABLES, DENSE)
    monkeypatch.undo()
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


ARRAY_TYPES = ["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "i1", "<u8", "<u4", "<u2", "u1", "?"]


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
        st.tuples(st.sampled_from(ARRAY_TYPES), st.lists(st.integers(0, 4), max_size=4)),
        max_size=5,
    )
)
def test_arrays_of_every_type_shape_and_name(tmp_path: Path, dense: dict[str, tuple[str, list[int]]]) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 99, shape).astype(dtype) for name, (dtype, shape) in dense.items()}
    # As torch and slices have them: not in one piece of memory.
    arrays = {name: np.repeat(array, 2, -1)[..., ::2] if array.ndim else array for name, array in arrays.items()}
    path = tmp_path / "a.safetensors"
    write_packed(path, MANIFEST, TABLES, arrays)
    packed, plain = open_packed(path), safetensors.numpy.load_file(path)
    assert packed.dense.keys() == arrays.keys()
    for name, array in arrays.items():
        for found in (packed.dense[name], plain[f"dense.{name}"]):
            assert found.dtype == array.dtype and found.shape == array.shape and np.array_equal(found, array)
        assert packed.sizes[f"dense.{name}"] == array.nbytes
    assert sum(packed.sizes.values()) == path.stat().st_size
