from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autodpq.errors import AutoDPQError
from autodpq.packed.codes import pack_codes
from autodpq.packed.file import open_packed, write_packed
from autodpq.packed.manifest import Manifest, ModelSpec, SideFile
from autodpq.packed.table import TableSpec
from autodpq.plan import DPQ, Full, Others

SPECS = (
    TableSpec("a.b", 20, 8, 4, DPQ(5, 4), 7, first_order=True),
    TableSpec("Köln 🙂", 6, 8, 6, Full(), 0, head_dtype="int8"),
    TableSpec("rows", 9, 8, 2, Others(), 8, ranked=False, head_dtype="float16"),
)
ABOUT = {"plan": "{}", "metrics": {"test_auc": 0.1 + 0.2}, "seed": 0}
MANIFEST = Manifest("network", SPECS, ModelSpec("deepfm", (16, 16)), SideFile("v.parquet", "ab"), "0.1.0", ABOUT)


def arrays_of(spec: TableSpec) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    made: dict[str, np.ndarray] = {}
    for part, (dtype, shape) in spec.layout().items():
        made[part] = rng.integers(0, 100, shape).astype(dtype)
    if isinstance(spec.choice, DPQ):
        made["codes"] = pack_codes(rng.integers(0, spec.choice.K, (spec.tail, spec.choice.D)), spec.choice.K)
    if not spec.ranked:
        made["head_ids"] = np.sort(rng.permutation(spec.n_rows)[: spec.head]).astype(np.int32)
    return made


TABLES = {spec.name: arrays_of(spec) for spec in SPECS}
DENSE = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(3.5),
    "none": np.zeros((0, 3), np.float32),
    "flags": np.array([True, False, True]),
    "counter": np.array(7, np.int64),
    "half": np.arange(3, dtype=np.float16),
    "rows": np.arange(5, dtype=np.uint8),
}


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


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(AutoDPQError) as error:
        open_packed(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


def test_every_byte_counts(path: Path, tmp_path: Path) -> None:
    content, other = path.read_bytes(), tmp_path / "b.safetensors"
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 + place % 255
        refused(other, bytes(changed))


def test_cut_off_and_foreign_files(path: Path, tmp_path: Path) -> None:
    content, other = path.read_bytes(), tmp_path / "b.safetensors"
    for length in (0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1):
        refused(other, content[:length])
    assert "cut off or altered" in refused(other, content + b"\0")
    assert "no file that autodpq exported" in refused(other, b"col1,col2\n1,2\n")
    safetensors.numpy.save_file({"a": np.zeros(3)}, other)
    assert "no file that autodpq exported" in refused(other, other.read_bytes())
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(AutoDPQError, match=r"cannot be read|no file"):
            open_packed(missing)


def crafted(header: dict[str, Any], data: bytes) -> bytes:
    """A file of any header, its checksum right."""
    header["__metadata__"]["sha256"] = "0" * 64
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
    text += b" " * (-len(text) % 8)
    start = struct.pack("<Q", len(text)) + text
    digest = hashlib.sha256(start + data).hexdigest().encode()
    return start.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + digest) + data


def parts_of(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


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
        _manifest(format="1"),
        _manifest(format=True),
        _manifest(kind="pickle"),
        _manifest(kind=["network"]),
        _manifest(tables=[]),
        _manifest(tables={}),
        _manifest(tables=[1]),
        _manifest(model=None),
        _manifest(model={"name": 3, "hidden": [1]}),
        _manifest(model={"name": "deepfm", "hidden": [-1]}),
        _manifest(model={"name": "deepfm", "hidden": "16"}),
        _manifest(vocabulary={"name": "../../etc/passwd", "sha256": "ab"}),
        _manifest(vocabulary={"name": "..", "sha256": "ab"}),
        _manifest(vocabulary={"name": "a\\b", "sha256": "ab"}),
        _manifest(vocabulary={"name": 3, "sha256": "ab"}),
        _manifest(vocabulary="v.parquet"),
        _manifest(about=[]),
        _manifest(version=3),
        _manifest(extra=1),
        _table(n_rows=0),
        _table(n_rows=1 << 62),
        _table(n_rows=-5),
        _table(n_rows="20"),
        _table(n_rows=20.0),
        _table(dim=1 << 40),
        _table(dim=0),
        _table(head=21),
        _table(head=-1),
        _table(fallback=20),
        _table(fallback=-1),
        _table(choice="dpq(5,3)"),
        _table(choice="dpq(1,4)"),
        _table(choice="dpq(999999999,4)"),
        _table(choice="others"),
        _table(choice="full"),
        _table(choice="__import__('os')"),
        _table(choice=5),
        _table(head_dtype="float64"),
        _table(ranked=False),
        _table(ranked=1),
        _table(first_order=False),
        _table(name="rows"),
        _table(name=None),
        _table(more=1),
    ],
)
def test_headers_that_lie_are_refused(change: Callable[[dict[str, Any]], Any], path: Path, tmp_path: Path) -> None:
    header, data = parts_of(path)
    change(header)
    refused(tmp_path / "b.safetensors", crafted(header, data))


def test_an_unknown_format_says_what_to_do(path: Path, tmp_path: Path) -> None:
    header, data = parts_of(path)
    _manifest(format=9)(header)
    assert "this version reads format 1" in refused(tmp_path / "b", crafted(header, data))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def alter(data: st.DataObject, value: Any) -> Any:
    """The same JSON with one part of it replaced, removed or added."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 3)):
        key = data.draw(st.sampled_from(sorted(value)))
        if not data.draw(st.integers(0, 5)):
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: alter(data, value[key])}
    if isinstance(value, list) and value and data.draw(st.integers(0, 3)):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], alter(data, value[place]), *value[place + 1 :]]
    return data.draw(json_values)


def check_fuzzed(folder: Path, data: st.DataObject) -> None:
    original = folder / "a.safetensors"
    if not original.exists():
        write_packed(original, MANIFEST, TABLES, DENSE)
    header, content = parts_of(original)
    if data.draw(st.booleans()):
        header["__metadata__"]["autodpq"] = json.dumps(alter(data, json.loads(header["__metadata__"]["autodpq"])))
    else:
        metadata = header["__metadata__"]
        header = alter(data, header)
        if not isinstance(header, dict):
            header = {"a": header}
        header["__metadata__"] = metadata
    path = folder / "fuzzed"
    path.write_bytes(crafted(header, content))
    try:
        packed = open_packed(path)
    except AutoDPQError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        return
    # What is opened can be used.
    for table in packed.tables:
        assert table.lookup(np.arange(min(table.spec.n_rows, 50))).shape[1] == table.spec.dim


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_altered_headers_are_errors_of_ours(tmp_path: Path, data: st.DataObject) -> None:
    check_fuzzed(tmp_path, data)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_altered_headers_are_errors_of_ours_ten_thousand_times(tmp_path: Path, data: st.DataObject) -> None:
    check_fuzzed(tmp_path, data)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.integers(0, 1 << 12), st.integers(0, 400))
def test_any_bytes_are_errors_of_ours(tmp_path: Path, inserted: bytes, place: int, removed: int) -> None:
    write_packed(tmp_path / "a", MANIFEST, TABLES, DENSE)
    content = (tmp_path / "a").read_bytes()
    changed = content[:place] + inserted + content[place + removed :]
    if changed != content:
        refused(tmp_path / "b", changed)


def test_writing_is_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    with pytest.raises(AutoDPQError, match="its codes are missing"):
        lacking = {part: array for part, array in TABLES["a.b"].items() if part != "codes"}
        write_packed(path, MANIFEST, {**TABLES, "a.b": lacking}, DENSE)
    with pytest.raises(AutoDPQError, match="complex128"):
        write_packed(path, MANIFEST, TABLES, {"c": np.zeros(2, complex)})
    monkeypatch.setattr("autodpq.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(AutoDPQError, match=r"a\.safetensors: cannot be written \(No space left\)"):
        write_packed(path, replace(MANIFEST, version="0.2.0"), TABLES, DENSE)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
