"""A small packed file of every kind of table, and files that lie about what they hold."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autodpq.choices import DPQ, OPQ, Full, Made, Others
from autodpq.choices.opq import rotation_of
from autodpq.errors import AutoDPQError
from autodpq.packed.file import open_packed
from autodpq.packed.manifest import Manifest, ModelSpec, SideFile
from autodpq.packed.spec import TableSpec, store_rows

SPECS = (
    TableSpec("a.b", 20, 8, 4, DPQ(5, 4), 7, first_order=True),
    TableSpec("Köln 🙂", 6, 8, 6, Full(), 0, head_dtype="int8"),
    TableSpec("rows", 9, 8, 2, Others(), 8, ranked=False, head_dtype="float16"),
)
ABOUT = {"plan": "{}", "metrics": {"test_auc": 0.1 + 0.2}, "seed": 0}
MANIFEST = Manifest("network", SPECS, ModelSpec("deepfm", (16, 16)), SideFile("v.parquet", "ab"), "0.1.0", ABOUT)


def arrays_of(spec: TableSpec, seed: int = 1) -> dict[str, np.ndarray]:
    """A table's arrays, by chance."""
    rng = np.random.default_rng(seed)
    made = store_rows(rng.normal(size=(spec.n_stored, spec.dim)).astype(np.float32), spec.head_dtype)
    if isinstance(spec.choice, Made):
        rows = rng.normal(size=(spec.tail, spec.dim)).astype(np.float32)
        shared = spec.choice.start(rows, 0)
        if isinstance(spec.choice, DPQ):
            shared["centroids"] = rng.normal(size=(spec.choice.K, spec.dim)).astype(np.float32)
            shared["codes"] = rng.integers(0, spec.choice.K, (spec.tail, spec.choice.D))
        if isinstance(spec.choice, OPQ):
            shared["rotation"] = rotation_of(rows, None, spec.choice.D)
        made |= spec.choice.pack(rows, shared)
    if not spec.ranked:
        made["head_ids"] = np.sort(rng.permutation(spec.n_rows)[: spec.head]).astype(np.int32)
    if spec.first_order:
        made["first_order"] = rng.normal(size=spec.n_weights).astype(np.float32)
    assert made.keys() == spec.layout.keys()
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


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(AutoDPQError) as error:
        open_packed(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


def text_of(header: dict[str, Any]) -> bytes:
    header["__metadata__"]["sha256"] = "0" * 64
    return json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")


def sealed(text: bytes, data: bytes) -> bytes:
    """A file of any header, its checksum right."""
    text += b" " * (-len(text) % 8)
    start = struct.pack("<Q", len(text)) + text
    digest = hashlib.sha256(start + data).hexdigest().encode()
    return start.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + digest, 1) + data


def crafted(header: dict[str, Any], data: bytes) -> bytes:
    return sealed(text_of(header), data)


def parts_of(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]
