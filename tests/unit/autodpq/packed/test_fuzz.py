"""Altered files, by chance: each is refused in one line, or can be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fuzzing import altered_json, json_values, spliced
from support.packed_files import DENSE, MANIFEST, TABLES, crafted, parts_of, refused, sealed, text_of
from support.packed_models import random_ids, write_model

import autodpq
from autodpq.errors import AutoDPQError
from autodpq.packed.file import open_packed, write_packed
from autodpq.packed.load import PackedNetwork

NASTY: list[Any] = [
    [0] * 65, [1] * 65, [1 << 61] * 9, [0, 1 << 61], [-1], -1, 1 << 61, 1 << 62, 1 << 31, (1 << 31) - 1, 1e999,
    -1e999, float("nan"), "\ud800", "\0", "a\nb", "../a", "dpq(256,8)", "dpq(2,1)", "full", "others", "int8", "F16",
    "BOOL", True, [[[[[[[[]]]]]]]], {"a": {"a": {}}}, [1 << 20] * 2, [1 << 40],
]  # fmt: skip
VALUES = json_values(NASTY)

Fuzzer = Callable[[Path, st.DataObject], None]


def check_fuzzed(folder: Path, data: st.DataObject) -> None:
    original = folder / "a.safetensors"
    if not original.exists():
        write_packed(original, MANIFEST, TABLES, DENSE)
    header, content = parts_of(original)
    if data.draw(st.booleans()):
        header["__metadata__"]["autodpq"] = json.dumps(
            altered_json(data, json.loads(header["__metadata__"]["autodpq"]), VALUES)
        )
    else:
        metadata = header["__metadata__"]
        header = altered_json(data, header, VALUES)
        if not isinstance(header, dict):
            header = {"a": header}
        header["__metadata__"] = metadata
    check_opened(folder / "fuzzed", crafted(header, content))


def check_fuzzed_text(folder: Path, data: st.DataObject) -> None:
    """Alters the header's text, of which the checksum then is right."""
    original = folder / "a.safetensors"
    if not original.exists():
        write_packed(original, MANIFEST, TABLES, DENSE)
    header, content = parts_of(original)
    text = spliced(data, text_of(header))
    check_opened(folder / "fuzzed", sealed(text, content))


def check_opened(path: Path, content: bytes) -> None:
    """Either an error of ours, of one line, or a file that can be used and written again."""
    path.write_bytes(content)
    try:
        packed = open_packed(path)
    except AutoDPQError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        assert str(error).encode()
        return
    for table in packed.tables:
        assert table.lookup(np.arange(min(table.spec.n_rows, 50))).shape[1] == table.spec.dim
        assert table.lookup(np.array([table.spec.fallback, table.spec.n_rows - 1])).shape == (2, table.spec.dim)
    assert sum(packed.sizes.values()) == path.stat().st_size
    again = path.with_name("again")
    write_packed(again, packed.manifest, {table.spec.name: table.arrays for table in packed.tables}, packed.dense)
    assert open_packed(again).manifest == packed.manifest


def check_loaded(folder: Path, data: st.DataObject) -> None:
    """Alters what a network's file says of it, the checksum right: what is loaded predicts."""
    original = folder / "network.safetensors"
    if not original.exists():
        write_model(original)
    header, content = parts_of(original)
    if data.draw(st.integers(0, 2)):
        header["__metadata__"]["autodpq"] = json.dumps(
            altered_json(data, json.loads(header["__metadata__"]["autodpq"]), VALUES)
        )
    else:
        entry = header[data.draw(st.sampled_from(sorted(header.keys() - {"__metadata__"})))]
        entry["dtype"] = data.draw(st.sampled_from(["F32", "I32", "U32", "F16", "I16", "BOOL", "F64"]))
        entry["shape"] = data.draw(st.permutations(entry["shape"]) | st.just([*entry["shape"], 1]))
    path = folder / "altered.safetensors"
    path.write_bytes(crafted(header, content))
    try:
        network = autodpq.load(path)
    except AutoDPQError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error) and str(error).encode()
        return
    assert isinstance(network, PackedNetwork)
    assert len(network.score(random_ids(3))) == 3


FUZZERS = [check_fuzzed, check_fuzzed_text, check_loaded]


@pytest.mark.parametrize("check", FUZZERS)
@given(data=st.data())
def test_altered_headers_are_errors_of_ours(check: Fuzzer, tmp_path: Path, data: st.DataObject) -> None:
    check(tmp_path, data)


@pytest.mark.slow
@pytest.mark.parametrize("check", FUZZERS)
@settings(max_examples=10_000)
@given(data=st.data())
def test_altered_headers_ten_thousand_times(check: Fuzzer, tmp_path: Path, data: st.DataObject) -> None:
    check(tmp_path, data)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(st.binary(max_size=400), st.integers(0, 1 << 12), st.integers(0, 400))
def test_any_bytes_are_errors_of_ours(tmp_path: Path, inserted: bytes, place: int, removed: int) -> None:
    if not (tmp_path / "a").exists():
        write_packed(tmp_path / "a", MANIFEST, TABLES, DENSE)
    content = (tmp_path / "a").read_bytes()
    changed = content[:place] + inserted + content[place + removed :]
    if changed != content:
        refused(tmp_path / "b", changed)
